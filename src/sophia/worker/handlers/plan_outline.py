"""A plan drafted as a numbered list in words, for models too small to think and keep to a JSON schema at once.

Nothing here adds content: the list's lines become steps, what the model wrote before the colon is the title.
"""

from __future__ import annotations

import re
from typing import Any

from sophia.worker.handlers.plan_draft import LONGEST_DESCRIPTION, TITLE_CHARACTERS, Draft, DraftStep, without_repeats

SYSTEM = "You write plans as short numbered lists. Every step is different and starts with a verb."
EXAMPLE_GOAL = "Goal: Repaint the garden fence\n\nPlan it in at most 5 steps."
EXAMPLE_OUTLINE = (
    "1. Choose a paint: compare colours and ask for one that stands the weather.\n"
    "2. Buy brushes and paint: measure the fence to know how much is needed.\n"
    "3. Clean the wood: brush off dirt and sand the rough places.\n"
    "4. Paint the first coat: begin at the top and let it dry for a day.\n"
    "5. Paint the second coat: look for spots that were missed."
)
TOKENS_PER_LINE = 45
VARIETY = 0.6
"""Frequency and presence penalty. Without them the 135M model writes one line again and again."""

_LINE = re.compile(r"^\s*(?:\*\*)?(\d{1,3})[.)]\s*(.+)$")
_MARKS = re.compile(r"[*_`#]+")


def outline_messages(goal: str) -> list[dict[str, Any]]:
    return [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": EXAMPLE_GOAL},
        {"role": "assistant", "content": EXAMPLE_OUTLINE},
        {"role": "user", "content": goal},
    ]


def read_outline(text: str, max_steps: int, *, cut_short: bool) -> Draft:
    """The list's steps, each said once and at most ``max_steps`` of them.

    The list ends where its numbers do not go on (a second list, a line within a step). With ``cut_short`` the last
    line is taken to be unfinished and left out, unless it is the only one.
    """
    lines: list[str] = []
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        if int(found[1]) != len(lines) + 1:
            break
        lines.append(_MARKS.sub("", found[2]).strip())
    if cut_short and len(lines) > 1 and text.rstrip().splitlines()[-1].strip().endswith(lines[-1][-10:]):
        lines.pop()
    steps = [_step(number, line) for number, line in enumerate(lines[:max_steps], 1) if line]
    return without_repeats(Draft(steps=steps))


def _step(number: int, line: str) -> DraftStep:
    title, _, description = line.partition(": ")
    if len(title) > TITLE_CHARACTERS:
        title, description = _first_words(line, TITLE_CHARACTERS), line
    return DraftStep(id=number, title=title.strip(" .:"), description=description.strip()[:LONGEST_DESCRIPTION])


def _first_words(text: str, most: int) -> str:
    return text[: most - 1].rsplit(" ", 1)[0] + "…"
