"""Providers that misbehave: the official client gets errors in OpenAI's shape, nothing hangs, nothing is left open."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import openai
from msgspec.structs import replace

from sophia.inference.directory import ModelDirectory
from sophia.settings.deployments import BreakerSettings, FallbackSettings
from sophia.settings.load import merged_settings
from sophia.settings.resolve import resolve
from tests.support.faulty_upstream import DONE, STREAM, FaultyUpstream, Then, answer, event, faulty_upstream, head
from tests.support.gateways import KEY, front_of_house
from tests.support.waiting import eventually

PATIENCE_S = 30
"""Far longer than any time limit of the provider here: an answer that is not there by then hangs."""
STALL_S = 0.5
EMBEDDING = "all-minilm-l6-v2"
GARBAGE = b"\x00\xff\x16\x03\x01 not HTTP at all\r\n\r\n"

WHOLE: list[tuple[str, bytes, Then, bool, int]] = [
    ("no answer at all", b"", "stall", False, 503),
    ("closed without a word", b"", "close", False, 503),
    ("reset", b"", "reset", False, 503),
    ("not HTTP", GARBAGE, "close", False, 503),
    ("half of the headers", head()[:20], "stall", False, 503),
    ("a body that breaks off", answer(200)[:-10], "close", False, 503),
    ("a body that stalls", answer(200)[:-10], "stall", False, 503),
    ("429 with Retry-After", answer(429, {"error": {"message": "slow"}}, Retry_After="7"), "close", False, 429),
    ("429 without", answer(429, {"error": {"message": "slow"}}), "close", False, 429),
    ("500", answer(500, {"error": {"message": "oh"}}), "close", False, 503),
    ("500 that is no JSON", head(500, "text/html") + b"<html>oh</html>", "close", False, 503),
    ("502", answer(502, ["?"]), "close", False, 503),
    ("400", answer(400, {"error": {"message": "bad", "param": "input"}}), "close", False, 400),
    ("401 of ours", answer(401, {"error": {"message": "key"}}), "close", False, 502),
    ("slow headers", answer(200), "close", True, 200),
]


def impatient(url: str) -> ModelDirectory:
    """A chat model behind a provider that is asked once at a time and waited for shortly."""
    environ = {"SOPHIA_PROFILE": "local", "SOPHIA_EMBEDDER_URL": url}
    loaded = resolve(merged_settings(None, environ), environ, config_path=None, data_dir=Path("unused"))
    provider = loaded.providers["onnx_embedded"]
    settings = replace(
        provider.settings,
        connect_timeout_s=STALL_S,
        first_token_timeout_s=2.5,
        answer_timeout_s=2.5,
        idle_timeout_s=STALL_S,
        max_concurrency=1,
        # It would answer in the provider's place.
        breaker=BreakerSettings(failures=10_000, calls=10_000),
    )
    chat = replace(
        loaded.settings.models[EMBEDDING], kind="chat", dimensions=None, fallback=FallbackSettings(retries=0)
    )
    models = {**loaded.settings.models, "chat": chat}
    providers = {**loaded.providers, "onnx_embedded": replace(provider, settings=settings)}
    return ModelDirectory(replace(loaded.settings, models=models), providers)


async def all_closed(faulty: FaultyUpstream) -> None:
    await eventually(lambda: faulty.open == 0, PATIENCE_S)


async def test_whatever_a_provider_does_is_an_error_of_openais_form(redis_url: str, tmp_path: Path) -> None:
    async with faulty_upstream() as faulty:
        async with front_of_house(redis_url, tmp_path, models=impatient(faulty.url)) as platform:
            async with openai.AsyncOpenAI(base_url=f"{platform.url}/v1", api_key=KEY, max_retries=0) as client:
                for name, sent, then, slowly, status in WHOLE:
                    for stream in (False, True):
                        if stream and sent.startswith(b"HTTP/1.1 200"):
                            continue
                        if then == "stall" and stream == (name != "no answer at all"):
                            continue  # each takes its time limit's time
                        faulty.sent, faulty.then, faulty.slowly = sent, then, slowly
                        async with asyncio.timeout(PATIENCE_S):
                            got, retry_after = await outcome(client, stream=stream)
                        assert got == status, (name, stream)
                        assert retry_after == ("7" if "with Retry-After" in name else retry_after), name
                        await all_closed(faulty)
                # Its one concurrent call is free again.
                faulty.sent, faulty.then, faulty.slowly = answer(200), "close", False
                assert await outcome(client, stream=False) == (200, None)


async def outcome(client: openai.AsyncOpenAI, *, stream: bool) -> tuple[int, str | None]:
    """Status and Retry-After, once the error's form was checked."""
    try:
        await client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "x"}], stream=stream)
    except openai.APIStatusError as error:
        refused = error
    else:
        return 200, None
    assert isinstance(refused.body, dict)
    assert set(refused.body) == {"message", "type", "param", "code"}
    assert refused.body["message"]
    return refused.status_code, refused.response.headers.get("retry-after")


async def test_streams_that_go_wrong_end_with_an_error_after_what_came(redis_url: str, tmp_path: Path) -> None:
    huge = "x" * 3_000_000
    cases: list[tuple[str, bytes, Then, list[str], bool]] = [
        ("reset in the middle", STREAM + event("a") + event("b"), "reset", ["a", "b"], False),
        ("ends without its end", STREAM + event("a"), "close", ["a"], False),
        ("stalls", STREAM + event("a"), "stall", ["a"], False),
        ("breaks off in an event", STREAM + event("a") + event("b")[:30], "close", ["a"], False),
        ("a huge event", STREAM + event(huge) + DONE, "close", [huge], True),
        ("many events at once", STREAM + event("y") * 5_000 + DONE, "close", ["y"] * 5_000, True),
    ]
    async with faulty_upstream() as faulty:
        async with front_of_house(redis_url, tmp_path, models=impatient(faulty.url)) as platform:
            async with openai.AsyncOpenAI(base_url=f"{platform.url}/v1", api_key=KEY, max_retries=0) as client:
                for name, sent, then, expected, whole in cases:
                    faulty.sent, faulty.then = sent, then
                    async with asyncio.timeout(PATIENCE_S):
                        texts, error = await streamed(client)
                    assert texts == expected, name
                    assert (error is None) == whole, (name, error)
                    await all_closed(faulty)
                faulty.sent, faulty.then = answer(200), "close"
                assert await outcome(client, stream=False) == (200, None)


async def streamed(client: openai.AsyncOpenAI) -> tuple[list[str], openai.APIError | None]:
    texts: list[str] = []
    message: Any = {"role": "user", "content": "x"}
    stream = await client.chat.completions.create(model="chat", messages=[message], stream=True)
    try:
        async for chunk in stream:
            texts += [choice.delta.content or "" for choice in chunk.choices]
    except openai.APIError as error:
        return texts, error
    return texts, None
