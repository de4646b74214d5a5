"""The context of an attempt against a provider on the wire: output, usage, budget, stopping."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sophia.nouns.budget import Budget
from sophia.nouns.errors import BudgetExceeded, InvalidInput, LeaseLost, RateLimited, Unavailable, UpstreamError
from sophia.nouns.usage import Usage
from sophia.worker.context import TaskContext
from tests.support.attempts import Recorded
from tests.support.models import make_models
from tests.support.scripted_chat import Answer, ScriptedChat, says, scripted_chat
from tests.support.waiting import eventually

PROMPT = [{"role": "user", "content": "a prompt of forty characters, as it happens"}]
MODEL = "smollm2-135m-instruct"


@asynccontextmanager
async def attempt(*answers: Answer, **more: Any) -> AsyncIterator[tuple[Recorded, ScriptedChat]]:
    async with scripted_chat(*answers) as chat:
        models = make_models(chat_url=chat.url)
        try:
            yield Recorded(models, "light", {"prompt": "x"}, **more), chat
        finally:
            await models.close()


async def test_text_is_shown_in_order_and_the_providers_usage_counts() -> None:
    pieces = [f"word{number} " for number in range(400)]
    async with attempt(Answer(pieces=pieces, usage=(12, 400))) as (recorded, chat):
        context: TaskContext = recorded.context
        answer = await context.chat(PROMPT)
        assert answer.text == recorded.shown == "".join(pieces)
        assert (answer.finish_reason, answer.model) == ("stop", MODEL)
        usage = recorded.context.usage
        assert (usage.input_tokens, usage.output_tokens, usage.model_calls) == (12, 400, 1)
        assert usage.run_s > 0
        assert len(recorded.outputs) < 40, "pieces are coalesced"
        assert all(data["attempt"] == 1 for data in recorded.outputs)
        assert chat.requests[0]["model"] == MODEL


async def test_offsets_go_on_over_several_calls_and_hidden_calls_show_nothing() -> None:
    async with attempt(says("one "), says("hidden"), says("two")) as (recorded, _):
        await recorded.context.chat(PROMPT)
        await recorded.context.chat(PROMPT, show=False)
        await recorded.context.chat(PROMPT)
        assert recorded.shown == "one two"
        assert recorded.context.usage.model_calls == 3


async def test_the_task_types_defaults_hold_where_the_payload_is_silent() -> None:
    async with attempt(says("a"), says("b")) as (recorded, chat):
        await recorded.context.chat(PROMPT)
        await recorded.context.chat(PROMPT, max_tokens=7, temperature=0)
    silent, asked = chat.requests
    # The type's default is 1,000; the model's context leaves less than it would need for its own cap of 1,024.
    assert (silent["max_tokens"], silent["temperature"]) == (1000, 0.7)
    assert (asked["max_tokens"], asked["temperature"]) == (7, 0)


async def test_a_cancelled_attempt_stops_the_provider_shows_what_came_and_counts_it() -> None:
    async with attempt(Answer(pieces=["some ", "words"], then_hang=True)) as (recorded, chat):
        running = asyncio.create_task(recorded.context.chat(PROMPT))
        await eventually(lambda: recorded.shown == "some words")
        assert recorded.context.usage.output_tokens >= 2
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await asyncio.wait_for(chat.gone.wait(), 5)
        usage = recorded.context.usage
        assert usage.output_tokens >= 2
        assert usage.input_tokens >= 10
        assert usage.model_calls == 1


async def test_a_stream_that_breaks_off_is_unavailable_and_counts() -> None:
    async with attempt(Answer(pieces=["some ", "words"], then_break=True)) as (recorded, _):
        with pytest.raises(Unavailable):
            await recorded.context.chat(PROMPT)
        assert recorded.shown == "some words"
        assert recorded.context.usage.output_tokens >= 2


async def test_a_refused_call_costs_nothing() -> None:
    # What may pass is tried twice.
    statuses = (429, 429, 400, 503, 503)
    async with attempt(*(Answer(status=status) for status in statuses)) as (recorded, _):
        for kind in (RateLimited, UpstreamError, Unavailable):
            with pytest.raises(kind):
                await recorded.context.chat(PROMPT)
        assert recorded.context.usage.total_tokens == 0
        assert recorded.context.usage.model_calls == 3


async def test_the_token_budget_clips_a_call_and_refuses_the_next_one() -> None:
    budget = Budget(max_tokens=40)
    async with attempt(Answer(pieces=["a"], usage=(12, 20)), budget=budget) as (recorded, chat):
        await recorded.context.chat(PROMPT)
        assert chat.requests[0]["max_tokens"] == 40 - 15
        with pytest.raises(BudgetExceeded, match=r"32 are used, 8 are left") as refused:
            await recorded.context.chat(PROMPT)
        assert refused.value.field == "budget.max_tokens"
        assert len(chat.requests) == 1


async def test_usage_over_the_budget_is_told_after_the_call() -> None:
    async with attempt(Answer(pieces=["a"], usage=(100, 20)), budget=Budget(max_tokens=40)) as (recorded, _):
        with pytest.raises(BudgetExceeded, match="max_tokens is 40, used 120; nothing is left"):
            await recorded.context.chat(PROMPT)
        assert recorded.context.usage.total_tokens == 120


async def test_earlier_attempts_count_against_the_budget() -> None:
    spent = Usage(output_tokens=30)
    async with attempt(budget=Budget(max_tokens=40), spent_before=spent) as (recorded, chat):
        with pytest.raises(BudgetExceeded):
            await recorded.context.chat(PROMPT)
        assert chat.requests == []
        assert recorded.context.usage.output_tokens == 0


async def test_the_run_time_of_the_budget_ends_a_call() -> None:
    async with attempt(Answer(pieces=["a"], then_hang=True), budget=Budget(max_run_s=0.3)) as (recorded, chat):
        with pytest.raises(BudgetExceeded, match=r"max_run_s is 0\.3") as over:
            await recorded.context.chat(PROMPT)
        assert over.value.field == "budget.max_run_s"
        await asyncio.wait_for(chat.gone.wait(), 5)


async def test_a_lost_lease_ends_the_generation() -> None:
    async with attempt(Answer(pieces=["some words"], then_repeat=True)) as (recorded, chat):
        recorded.refuse_events_with = LeaseLost("the attempt is another worker's")
        with pytest.raises(LeaseLost):
            await asyncio.wait_for(recorded.context.chat(PROMPT), 5)
        await asyncio.wait_for(chat.gone.wait(), 5)


async def test_an_error_of_the_provider_is_not_hidden_by_events_that_cannot_be_written() -> None:
    async with attempt(Answer(pieces=["some words"], then_break=True)) as (recorded, _):
        recorded.refuse_events_with = LeaseLost("the attempt is another worker's")
        with pytest.raises(Unavailable):
            await recorded.context.chat(PROMPT)


async def test_a_provider_that_knows_no_string_lengths_gets_the_schema_without_them() -> None:
    refusal = {
        "message": "Invalid schema for response_format: 'maxLength' is not permitted",
        "param": "response_format",
    }
    schema = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 5}}}
    async with attempt(Answer(status=400, error=refusal), says('{"a": "b"}')) as (recorded, chat):
        answer = await recorded.context.chat(PROMPT, json_schema=schema)
        assert answer.text == '{"a": "b"}'
    first, second = (request["response_format"]["json_schema"]["schema"] for request in chat.requests)
    assert first == schema
    assert second == {"type": "object", "properties": {"a": {"type": "string"}}}


async def test_progress_is_an_event() -> None:
    async with attempt() as (recorded, _):
        await recorded.context.progress(1, 3, "reading")
        assert recorded.events == [("task.progress", {"done": 1, "total": 3, "note": "reading", "attempt": 1})]


async def test_unknown_models_and_models_of_another_kind_are_refused() -> None:
    async with attempt() as (recorded, _):
        with pytest.raises(InvalidInput):
            await recorded.context.chat(PROMPT, model="gpt-17")
        with pytest.raises(InvalidInput):
            recorded.context.card(MODEL, "embedding")
