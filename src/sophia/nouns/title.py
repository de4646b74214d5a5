"""What a user knows a task by."""

from __future__ import annotations

from sophia.nouns.objects import reference_in
from sophia.nouns.task import Task

TITLE_CHARACTERS = 120


def title_of(task: Task) -> str:
    """One line: the beginning of the goal, prompt or question, or the number of texts."""
    ref = reference_in(task.payload)
    if ref is not None:
        return ref.title or task.type
    texts = task.payload.get("texts")
    if isinstance(texts, list):
        return "1 text" if len(texts) == 1 else f"{len(texts)} texts"
    for name in ("goal", "prompt", "question", "title"):
        value = task.payload.get(name)
        if isinstance(value, str):
            line = " ".join(value[: 4 * TITLE_CHARACTERS].split())
            return line if len(line) <= TITLE_CHARACTERS else line[: TITLE_CHARACTERS - 1].rstrip() + "…"
    return task.type
