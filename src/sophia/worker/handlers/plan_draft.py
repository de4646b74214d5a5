"""A plan as a model writes it: its JSON schema, what can be wrong with it, and putting it in order.

Nothing here adds content. A step that says what another one says is one with it; a draft whose dependencies can be
honoured is sorted and renumbered; any other is faulty.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sophia.nouns.payloads import PlanStep

TITLE_CHARACTERS = 80
LONGEST_DESCRIPTION = 400
SHORTEST_DESCRIPTION = 60
TOKENS_PER_FRAME = 40
"""Keys, punctuation, number and dependencies of one step."""
TOKENS_PER_TITLE = 20
CHARACTERS_PER_TOKEN = 3
"""On the safe side of the four of English prose, so that an answer of full length still ends in time."""


class DraftStep(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    title: str
    description: str = ""
    depends_on: list[int] = []


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    steps: list[DraftStep]


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How large a plan may be, so that its JSON ends within the tokens there are."""

    steps: int
    description: int
    """Characters."""


def size_for(max_steps: int, max_tokens: int) -> Size:
    """The most steps up to ``max_steps`` that fit ``max_tokens``, and the room for each description."""
    least = TOKENS_PER_FRAME + TOKENS_PER_TITLE + SHORTEST_DESCRIPTION // CHARACTERS_PER_TOKEN
    steps = max(1, min(max_steps, max_tokens // least))
    room = (max_tokens // steps - TOKENS_PER_FRAME - TOKENS_PER_TITLE) * CHARACTERS_PER_TOKEN
    return Size(steps=steps, description=max(SHORTEST_DESCRIPTION, min(LONGEST_DESCRIPTION, room)))


def plan_schema(size: Size) -> dict[str, Any]:
    """JSON Schema of a draft. Everything is bounded, so that constrained decoding always comes to an end."""
    number = {"type": "integer", "minimum": 1, "maximum": size.steps}
    step = {
        "type": "object",
        "properties": {
            "id": number,
            "title": {"type": "string", "minLength": 3, "maxLength": TITLE_CHARACTERS},
            "description": {"type": "string", "minLength": 1, "maxLength": size.description},
            "depends_on": {"type": "array", "items": number, "maxItems": max(1, size.steps - 1)},
        },
        "required": ["id", "title", "description", "depends_on"],
        "additionalProperties": False,
    }
    steps = {"type": "array", "items": step, "minItems": min(2, size.steps), "maxItems": size.steps}
    return {"type": "object", "properties": {"steps": steps}, "required": ["steps"], "additionalProperties": False}


def dependency_schema(count: int) -> dict[str, Any]:
    """JSON Schema of ``{"2": [1], "3": [1, 2], …}``: each of ``count`` steps can name earlier ones only."""
    keys = [str(number) for number in range(2, count + 1)]
    properties = {
        key: {"type": "array", "items": {"type": "integer", "enum": list(range(1, int(key)))}, "maxItems": int(key) - 1}
        for key in keys
    }
    return {"type": "object", "properties": properties, "required": keys, "additionalProperties": False}


def step_faults(draft: Draft, max_steps: int) -> list[str]:
    """What is wrong with the steps themselves, in words; they have to be written again."""
    faults = []
    if not draft.steps:
        faults.append("the plan has no steps")
    if len(draft.steps) > max_steps:
        faults.append(f"the plan has {len(draft.steps)} steps, at most {max_steps} are allowed")
    faults += [f"step {n} has an empty title" for n, step in enumerate(draft.steps, 1) if not step.title.strip()]
    return faults


def dependency_faults(draft: Draft) -> list[str]:
    """What is wrong with the numbers and dependencies, in words."""
    counts = Counter(step.id for step in draft.steps)
    faults = [f"{count} steps have the id {number}" for number, count in counts.items() if count > 1]
    for step in draft.steps:
        unknown = sorted({number for number in step.depends_on if number not in counts})
        if unknown:
            faults.append(f"step {step.id} depends on {_listed(unknown)}, which the plan does not have")
        if step.id in step.depends_on:
            faults.append(f"step {step.id} depends on itself")
    if not faults and len(sorted_ids(draft.steps)) < len(draft.steps):
        stuck = sorted(counts.keys() - set(sorted_ids(draft.steps)))
        faults.append(f"steps {_listed(stuck)} wait for each other")
    return faults


def sorted_ids(steps: Sequence[DraftStep]) -> list[int]:
    """Ids in an order in which dependencies come first, otherwise as they were written (Kahn's algorithm).

    Shorter than ``steps`` when there is a cycle. Ids must be unique and dependencies known.
    """
    place = {step.id: index for index, step in enumerate(steps)}
    waits = {step.id: set(step.depends_on) for step in steps}
    ready = [place[number] for number, open_ in waits.items() if not open_]
    heapq.heapify(ready)
    done: list[int] = []
    while ready:
        number = steps[heapq.heappop(ready)].id
        done.append(number)
        for other, open_ in waits.items():
            if number in open_:
                open_.remove(number)
                if not open_:
                    heapq.heappush(ready, place[other])
    return done


def ordered(draft: Draft) -> list[PlanStep]:
    """A faultless draft as the plan's steps, sorted by dependency and numbered from 1."""
    by_id = {step.id: step for step in draft.steps}
    order = sorted_ids(draft.steps)
    new = {old: number for number, old in enumerate(order, 1)}
    return [
        PlanStep(
            id=new[old],
            title=by_id[old].title.strip(),
            description=by_id[old].description.strip(),
            depends_on=sorted({new[number] for number in by_id[old].depends_on}),
        )
        for old in order
    ]


def without_repeats(draft: Draft) -> Draft:
    """Steps with the same title and description made one; what depended on either depends on the first."""
    if len({step.id for step in draft.steps}) < len(draft.steps):
        # Which step a dependency means is unknown: first the dependencies have to be asked for again.
        return draft
    kept: dict[tuple[str, str], DraftStep] = {}
    first: dict[int, int] = {}
    for step in draft.steps:
        same = kept.setdefault((_plain(step.title), _plain(step.description)), step)
        first[step.id] = same.id
    return Draft(steps=[_redirected(step, first) for step in kept.values()])


def _redirected(step: DraftStep, first: Mapping[int, int]) -> DraftStep:
    """The step with its dependencies led to kept steps; one on its own repeat says nothing."""
    kept = [
        first.get(number, number) for number in step.depends_on if number == step.id or first.get(number) != step.id
    ]
    return DraftStep(id=step.id, title=step.title, description=step.description, depends_on=kept)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def with_dependencies(draft: Draft, dependencies: Mapping[int, Sequence[int]]) -> Draft:
    """The same steps, numbered as they stand, with other dependencies."""
    return Draft(
        steps=[
            DraftStep(id=n, title=step.title, description=step.description, depends_on=list(dependencies.get(n, ())))
            for n, step in enumerate(draft.steps, 1)
        ]
    )


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
