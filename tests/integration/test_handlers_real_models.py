"""Every task type on the packaged models. Their answers may be poor; their form may not."""

from __future__ import annotations

import asyncio
import base64

import msgspec
import numpy as np
import pytest

from sophia.inference.directory import ModelDirectory
from sophia.nouns.payloads import RESULTS
from tests.support.attempts import Recorded, local_settings
from tests.support.waiting import eventually
from tests.support.web_pages import web_pages

CHAT = "smollm2-135m-instruct"
EMBEDDING = "all-minilm-l6-v2"


def check_form(task_type: str, result: msgspec.Struct) -> None:
    """The result survives the way a user gets it: as JSON of its type."""
    assert msgspec.json.decode(msgspec.json.encode(result), type=RESULTS[task_type]) == result


async def test_light(chat_models: ModelDirectory) -> None:
    recorded = Recorded(chat_models, "light", {"prompt": "Say hello.", "system": "Be brief.", "max_tokens": 24})
    result = await recorded.run()
    check_form("light", result)
    assert result.text
    assert result.text == recorded.shown
    assert result.model == CHAT
    assert result.finish_reason in ("stop", "length")
    assert 0 < recorded.context.usage.output_tokens <= 24


@pytest.mark.parametrize(
    "payload",
    [
        {"goal": "Paint a room", "context": "It has two windows.", "max_steps": 3, "max_tokens": 250},
        {"goal": "Rest", "max_steps": 1, "max_tokens": 120},
    ],
)
async def test_long_planning(chat_models: ModelDirectory, payload: dict[str, object]) -> None:
    recorded = Recorded(chat_models, "long_planning", payload)
    plan = await recorded.run()
    check_form("long_planning", plan)
    assert plan.goal == payload["goal"]
    assert 1 <= len(plan.steps) <= int(str(payload["max_steps"]))
    assert [step.id for step in plan.steps] == list(range(1, len(plan.steps) + 1))
    assert all(step.title for step in plan.steps)
    assert all(needed < step.id for step in plan.steps for needed in step.depends_on)
    assert plan.model == CHAT


async def test_code_generation(chat_models: ModelDirectory) -> None:
    payload = {"prompt": "Write a function add(a, b) that returns the sum of two numbers.", "max_tokens": 150}
    code = await Recorded(chat_models, "code_generation", payload).run()
    check_form("code_generation", code)
    assert code.language == "python"
    assert code.code.strip()
    assert code.syntax_checked
    if code.syntax_error is None:
        compile(code.code, "answer", "exec")


async def test_web_research(chat_models: ModelDirectory) -> None:
    async with web_pages() as pages:
        payload = {
            "question": "When was the lighthouse of Norhaven built?",
            "urls": [pages.url("/lighthouse"), pages.url("/status/404")],
            "max_tokens": 60,
        }
        answer = await Recorded(chat_models, "web_research", payload).run()
    check_form("web_research", answer)
    assert answer.answer
    assert set(answer.citations) <= {1}
    assert all(f"[{number}]" in answer.answer for number in answer.citations)
    assert [source.error is None for source in answer.sources] == [True, False]


async def test_batch_embedding(models: ModelDirectory) -> None:
    texts = ["A cat sat on the mat.", "A dog lay on the rug.", "Interest rates rose.", "short", "word " * 400]
    settings = local_settings(embedding={"batch_texts": 2})
    floats = Recorded(models, "batch_embedding", {"texts": texts}, settings=settings)
    result = await floats.run()
    check_form("batch_embedding", result)
    assert (result.model, result.dimensions, result.count, result.truncated) == (EMBEDDING, 384, 5, 1)
    assert result.tokens == floats.context.usage.embedding_tokens > 256
    assert [(data["done"], data["total"]) for _, data in floats.events] == [(2, 5), (4, 5), (5, 5)]
    vectors = np.array(result.vectors)
    cats_dogs, cats_rates = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
    assert cats_dogs > cats_rates, "each vector belongs to its text"

    packed = await Recorded(models, "batch_embedding", {"texts": texts, "encoding": "base64"}).run()
    assert packed.encoding == "base64"
    unpacked = np.stack([np.frombuffer(base64.b64decode(row), dtype="<f4") for row in packed.vectors])
    assert unpacked.shape == (5, 384)
    assert np.abs(unpacked - vectors).max() < 1e-5


async def test_the_same_task_many_times_at_once(chat_models: ModelDirectory) -> None:
    runs = [Recorded(chat_models, "light", {"prompt": f"Count to {n}.", "max_tokens": 12}) for n in range(2, 8)]
    results = await asyncio.gather(*(recorded.run() for recorded in runs))
    assert all(result.text == recorded.shown for result, recorded in zip(results, runs, strict=True))


async def test_calls_may_follow_each_other_at_once(chat_models: ModelDirectory) -> None:
    card = chat_models.resolve(None, kind="chat")
    for _ in range(8):
        await chat_models.chat(card, [{"role": "user", "content": "Say hello."}], max_tokens=2)


async def test_cancelling_counts_what_was_generated(chat_models: ModelDirectory) -> None:
    recorded = Recorded(chat_models, "light", {"prompt": "Write a very long story about the sea.", "max_tokens": 900})
    running = asyncio.create_task(recorded.run())
    await eventually(lambda: len(recorded.shown) > 20, timeout_s=60)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    usage = recorded.context.usage
    assert 5 <= usage.output_tokens < 900
    assert usage.input_tokens > 0
