"""What a call gets when its payload is silent."""

from __future__ import annotations

from sophia.inference.base import ModelCard
from sophia.nouns.task import Task
from sophia.settings.model import Settings


def answer_tokens(settings: Settings, task: Task, card: ModelCard, prompt_tokens: int, wanted: int | None) -> int:
    """Answer tokens to ask for: ``wanted``, else the task type's default capped by the model's own; in either case
    no more than the model's context and the task's budget leave after the prompt."""
    tokens = wanted
    if tokens is None:
        model = settings.models.get(card.id)
        default = settings.tasks[task.type].max_tokens
        tokens = min(default, (None if model is None else model.max_output_tokens) or default)
    # A prompt that seems not to fit is left to the provider, which counts exactly and says so.
    for room in (card.context_tokens, task.budget.max_tokens):
        if room is not None and room > prompt_tokens:
            tokens = min(tokens, room - prompt_tokens)
    return tokens
