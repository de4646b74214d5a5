"""``long_planning``: a goal becomes an ordered plan with dependencies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from sophia.inference.base import ChatAnswer
from sophia.nouns.errors import InvalidResult
from sophia.nouns.payloads import LongPlanning, Plan
from sophia.worker.context import TaskContext
from sophia.worker.defaults import answer_tokens
from sophia.worker.handlers.json_answers import read_json
from sophia.worker.handlers.plan_draft import (
    Draft,
    Size,
    dependency_faults,
    dependency_schema,
    ordered,
    plan_schema,
    size_for,
    step_faults,
    with_dependencies,
    without_repeats,
)
from sophia.worker.handlers.plan_outline import TOKENS_PER_LINE, VARIETY, outline_messages, read_outline
from sophia.worker.metering import estimated_prompt_tokens

SYSTEM = (
    "You plan work. Break the goal into different, concrete steps that together reach it, in the order they are done. "
    "Answer with JSON only, as in the example. Ids count from 1. depends_on lists the ids of those earlier steps that "
    "must be finished before."
)
EXAMPLE_GOAL = "Goal: Bake a cake\n\nPlan it in at most 3 steps."
EXAMPLE_PLAN = (
    '{"steps": [{"id": 1, "title": "Buy flour, eggs and sugar", "description": "Get fresh ingredients from the shop.", '
    '"depends_on": []}, {"id": 2, "title": "Mix the dough", "description": "Stir everything until it is smooth.", '
    '"depends_on": [1]}, {"id": 3, "title": "Bake it for 40 minutes", "description": "Use a hot oven and check with a '
    'fork.", "depends_on": [2]}]}'
)
"""Shows the form better than words do: without it a small model repeats the goal as every title."""
LONGEST_FAULT = 400
"""Characters kept free in the prompt for telling the model what was wrong."""


async def run(context: TaskContext, payload: LongPlanning) -> Plan:
    """A valid plan. The model is told once what is wrong with its steps, and once what is wrong with the dependencies;
    ``InvalidResult`` when it stays wrong."""
    planner = _Planner(context, payload)
    await context.progress(0, 2, "drafting the plan")
    draft = await planner.outlined()
    if draft is not None:
        await context.progress(1, 2, "asking for the dependencies")
        draft = await planner.find_dependencies(draft)
    else:
        draft = await planner.drafted()
        if faults := dependency_faults(draft):
            await context.progress(1, 2, "asking again for the dependencies: " + "; ".join(faults))
            draft = await planner.find_dependencies(draft, faults)
    if faults := dependency_faults(draft):
        raise InvalidResult(f"{planner.model} gave no valid dependencies: {'; '.join(faults)}")
    await context.progress(2, 2, f"{len(draft.steps)} steps")
    return Plan(goal=payload.goal, steps=ordered(draft), model=planner.model)


class _Planner:
    """The model calls for one payload."""

    def __init__(self, context: TaskContext, payload: LongPlanning) -> None:
        self._context = context
        self._payload = payload
        card = context.card(payload.model, "chat")
        self.model = card.id
        self._outline_first = card.outline_first
        prompt_tokens = estimated_prompt_tokens(self._messages("x" * LONGEST_FAULT))
        self._max_tokens = answer_tokens(context.settings, context.task, card, prompt_tokens, payload.max_tokens)

    async def outlined(self) -> Draft | None:
        """Steps drafted in words, still without dependencies; ``None`` from a model that needs no outline, or whose
        answer is no list of at least two steps."""
        if not self._outline_first:
            return None
        most = self._payload.max_steps
        answer = await self._context.chat(
            outline_messages(self._goal()),
            model=self._payload.model,
            max_tokens=min(self._max_tokens, TOKENS_PER_LINE * most),
            temperature=self._payload.temperature,
            variety=VARIETY,
        )
        draft = read_outline(answer.text, most, cut_short=answer.finish_reason == "length")
        return draft if len(draft.steps) >= min(2, most) else None

    async def drafted(self) -> Draft:
        """A whole draft under the schema, asked for twice at most."""
        answer = await self._ask(self._messages(), size_for(self._payload.max_steps, self._max_tokens))
        draft, faults = self._read(answer)
        if draft is None or faults:
            await self._context.progress(0, 2, "drafting again: " + "; ".join(faults))
            answer = await self._redraft(faults)
            draft, faults = self._read(answer)
        if draft is None or faults:
            raise InvalidResult(f"{self.model} made no valid plan: {'; '.join(faults)}")
        return draft

    async def _redraft(self, faults: list[str]) -> ChatAnswer:
        """Ask for the whole plan once more, at half the size so that it is sure to end."""
        size = size_for(self._payload.max_steps, self._max_tokens // 2)
        again = f"A first answer was refused: {'; '.join(faults)[:LONGEST_FAULT]}. Write the plan again, shorter."
        return await self._ask(self._messages(again), size)

    async def find_dependencies(self, draft: Draft, faults: Sequence[str] = ()) -> Draft:
        """The same steps as they stand, with dependencies asked for under a schema that allows earlier steps only."""
        if len(draft.steps) == 1:
            return with_dependencies(draft, {})
        steps = "\n".join(f"{number}. {step.title.strip()}" for number, step in enumerate(draft.steps, 1))
        wrong = f"The dependencies given were wrong: {'; '.join(faults)[:LONGEST_FAULT]}. " if faults else ""
        question = (
            f"Goal: {self._payload.goal}\nSteps:\n{steps}\n\n{wrong}"
            'For each step from 2 on, list the earlier steps it needs, as JSON: {"2": [1], "3": [1, 2]}.'
        )
        answer = await self._context.chat(
            [
                {"role": "system", "content": "You find dependencies between steps."},
                {"role": "user", "content": question},
            ],
            model=self._payload.model,
            max_tokens=self._max_tokens,
            temperature=0,
            json_schema=dependency_schema(len(draft.steps)),
            show=False,
        )
        return with_dependencies(draft, _read_dependencies(answer))

    def _read(self, answer: ChatAnswer) -> tuple[Draft | None, list[str]]:
        draft, fault = read_json(answer, Draft)
        if draft is None:
            return None, [fault]
        return without_repeats(draft), step_faults(draft, self._payload.max_steps)

    def _messages(self, again: str = "") -> list[dict[str, Any]]:
        return [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": EXAMPLE_GOAL},
            {"role": "assistant", "content": EXAMPLE_PLAN},
            {"role": "user", "content": self._goal(again)},
        ]

    def _goal(self, again: str = "") -> str:
        parts = [f"Goal: {self._payload.goal}"]
        if self._payload.context:
            parts.append(f"Context:\n{self._payload.context}")
        parts.append(f"Plan it in at most {self._payload.max_steps} steps.")
        return "\n\n".join([*parts, again] if again else parts)

    async def _ask(self, messages: list[dict[str, Any]], size: Size) -> ChatAnswer:
        return await self._context.chat(
            messages,
            model=self._payload.model,
            max_tokens=self._max_tokens,
            temperature=self._payload.temperature,
            json_schema=plan_schema(size),
        )


def _read_dependencies(answer: ChatAnswer) -> dict[int, list[int]]:
    start, end = answer.text.find("{"), answer.text.rfind("}")
    try:
        return msgspec.json.decode(answer.text[start : end + 1], type=dict[int, list[int]])
    except msgspec.MsgspecError as error:
        raise InvalidResult(f"{answer.model} gave no readable dependencies: {error}") from error
