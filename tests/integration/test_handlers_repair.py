"""Handlers whose model answers badly at first: what it is told, and what is returned in the end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from sophia.nouns.errors import InvalidResult
from tests.support.attempts import Recorded
from tests.support.models import make_models
from tests.support.scripted_chat import Answer, ScriptedChat, says, scripted_chat


@asynccontextmanager
async def attempt(
    task_type: str, payload: dict[str, Any], *answers: Answer, outline_first: bool = False
) -> AsyncIterator[tuple[Recorded, ScriptedChat]]:
    async with scripted_chat(*answers) as chat:
        models = make_models(chat_url=chat.url, outline_first=outline_first)
        try:
            yield Recorded(models, task_type, payload), chat
        finally:
            await models.close()


def plan(*steps: tuple[int, str, list[int]]) -> str:
    listed = [{"id": n, "title": title, "description": f"do {title}", "depends_on": needs} for n, title, needs in steps]
    return msgspec.json.encode({"steps": listed}).decode()


GOAL = {"goal": "open a shop", "max_steps": 4}


async def test_a_good_plan_takes_one_call() -> None:
    async with attempt("long_planning", GOAL, says(plan((1, "rent", []), (2, "sell", [1])))) as (recorded, chat):
        result = await recorded.run()
    assert [(step.id, step.title, step.depends_on) for step in result.steps] == [(1, "rent", []), (2, "sell", [1])]
    assert result.goal == "open a shop"
    assert len(chat.requests) == 1


async def test_a_plan_in_the_wrong_order_is_sorted_without_another_call() -> None:
    answer = says(f"Sure:\n```json\n{plan((1, 'sell', [2]), (2, 'rent', []))}\n```")
    async with attempt("long_planning", GOAL, answer) as (recorded, chat):
        result = await recorded.run()
    assert [(step.id, step.title, step.depends_on) for step in result.steps] == [(1, "rent", []), (2, "sell", [1])]
    assert len(chat.requests) == 1


async def test_a_cycle_is_told_and_the_dependencies_are_asked_for_again() -> None:
    first = says(plan((1, "rent", [2]), (2, "sell", [1])))
    async with attempt("long_planning", GOAL, first, says('{"2": [1]}')) as (recorded, chat):
        result = await recorded.run()
    assert [(step.title, step.depends_on) for step in result.steps] == [("rent", []), ("sell", [1])]
    assert "steps 1, 2 wait for each other" in chat.prompt(1)
    allowed = chat.requests[1]["response_format"]["json_schema"]["schema"]["properties"]
    assert allowed["2"]["items"]["enum"] == [1]


async def test_a_cut_plan_is_written_again_and_shorter() -> None:
    cut = Answer(pieces=[plan((1, "rent", []))[:-9]], finish_reason="length")
    async with attempt("long_planning", GOAL, cut, says(plan((1, "rent", []), (2, "sell", [])))) as (recorded, chat):
        result = await recorded.run()
    assert len(result.steps) == 2
    assert "cut off" in chat.prompt(1)
    first, second = (request["response_format"]["json_schema"]["schema"] for request in chat.requests)
    room = ["properties", "steps", "items", "properties", "description", "maxLength"]
    assert _at(second, room) < _at(first, room)


async def test_a_plan_that_stays_invalid_is_no_result() -> None:
    async with attempt("long_planning", GOAL, says("I cannot."), says("No.")) as (recorded, chat):
        with pytest.raises(InvalidResult, match="the answer has no JSON object"):
            await recorded.run()
    assert len(chat.requests) == 2


async def test_dependencies_that_stay_invalid_are_no_result() -> None:
    first = says(plan((1, "rent", [2]), (2, "sell", [1])))
    async with attempt("long_planning", GOAL, first, says('{"1": [2], "2": [1]}')) as (recorded, _):
        with pytest.raises(InvalidResult, match="wait for each other"):
            await recorded.run()


async def test_dependencies_that_cannot_be_read_are_no_result() -> None:
    first = says(plan((1, "rent", [1]), (2, "sell", [])))
    async with attempt("long_planning", GOAL, first, says("step two needs step one")) as (recorded, _):
        with pytest.raises(InvalidResult, match="no readable dependencies"):
            await recorded.run()


OUTLINE = says("Sure!\n1. Rent: find a room.\n2. Sell: open the door.\n")


async def test_a_small_model_drafts_in_words_and_is_asked_for_the_dependencies() -> None:
    answers = (OUTLINE, says('{"2": [1]}'))
    async with attempt("long_planning", GOAL, *answers, outline_first=True) as (recorded, chat):
        result = await recorded.run()
    assert [(step.id, step.title, step.description, step.depends_on) for step in result.steps] == [
        (1, "Rent", "find a room.", []),
        (2, "Sell", "open the door.", [1]),
    ]
    assert "response_format" not in chat.requests[0]
    assert chat.requests[0]["frequency_penalty"] == chat.requests[0]["presence_penalty"] > 0
    assert "2. Sell" in chat.prompt(1)
    assert "wrong" not in chat.prompt(1)
    assert "frequency_penalty" not in chat.requests[1]


async def test_an_outline_that_is_no_list_leads_to_a_draft_under_the_schema() -> None:
    answers = (says("I would open it."), says(plan((1, "rent", []), (2, "sell", [1]))))
    async with attempt("long_planning", GOAL, *answers, outline_first=True) as (recorded, chat):
        result = await recorded.run()
    assert [step.title for step in result.steps] == ["rent", "sell"]
    assert "response_format" in chat.requests[1]


async def test_a_single_step_needs_no_second_call() -> None:
    goal = {**GOAL, "max_steps": 1}
    async with attempt("long_planning", goal, says("1. Rent it\n2. Run it"), outline_first=True) as (recorded, chat):
        result = await recorded.run()
    assert [step.title for step in result.steps] == ["Rent it"]
    assert len(chat.requests) == 1


CODE = {"prompt": "add two numbers"}
GOOD = "```python\ndef add(a, b):\n    return a + b\n```\nIt adds."
BAD = "```python\ndef add(a, b)\n    return a + b\n```\nIt adds."


async def test_good_code_takes_one_call() -> None:
    async with attempt("code_generation", CODE, says(GOOD)) as (recorded, chat):
        result = await recorded.run()
    assert (result.code, result.explanation) == ("def add(a, b):\n    return a + b", "It adds.")
    assert (result.language, result.syntax_checked, result.syntax_error) == ("python", True, None)
    assert len(chat.requests) == 1


async def test_code_that_does_not_parse_is_mended_once() -> None:
    async with attempt("code_generation", CODE, says(BAD), says(GOOD)) as (recorded, chat):
        result = await recorded.run()
    assert result.syntax_error is None
    assert "line 1: expected ':'" in chat.prompt(1)


async def test_code_that_still_does_not_parse_says_so() -> None:
    async with attempt("code_generation", CODE, says(BAD), says("Sorry.")) as (recorded, _):
        result = await recorded.run()
    assert result.code == "def add(a, b)\n    return a + b"
    assert result.syntax_checked
    assert result.syntax_error == "line 1: expected ':'"


async def test_other_languages_are_not_checked() -> None:
    payload = {"prompt": "add", "language": "rust"}
    async with attempt("code_generation", payload, says("```rust\nfn add(\n```\nAdds.")) as (recorded, chat):
        result = await recorded.run()
    assert (result.language, result.syntax_checked, result.syntax_error) == ("rust", False, None)
    assert len(chat.requests) == 1


async def test_code_that_was_cut_is_asked_for_again_and_told_if_it_stays_cut() -> None:
    cut = Answer(pieces=["```rust\nfn add("], finish_reason="length")
    async with attempt("code_generation", {"prompt": "add", "language": "rust"}, cut, cut, says("Adds.")) as (
        recorded,
        _,
    ):
        result = await recorded.run()
    assert result.syntax_error == "the code was cut off at the token limit"
    assert result.explanation == "Adds."


async def test_an_answer_without_code_is_no_result() -> None:
    async with attempt("code_generation", CODE, says("I cannot."), says("Still not.")) as (recorded, chat):
        with pytest.raises(InvalidResult, match="no fenced code block"):
            await recorded.run()
    assert "no fenced code block" in chat.prompt(1)


async def test_code_without_a_fence_is_taken_when_it_surely_is_code_and_explained_by_a_second_call() -> None:
    bare = says("def add(a, b):\n    return a + b")
    async with attempt("code_generation", CODE, bare, says("It adds.")) as (recorded, _):
        result = await recorded.run()
    assert (result.code, result.explanation) == ("def add(a, b):\n    return a + b", "It adds.")


def _at(document: Any, path: list[str]) -> Any:
    for key in path:
        document = document[key]
    return document
