"""OpenAI's files and batches with the unmodified client; the model's server is played, so that it can be made to fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio
from aiohttp import web
from msgspec.structs import replace

from sophia.nouns.budget import TenantBudget
from sophia.settings.model import TenantSettings
from sophia.store.base import TaskFilter
from tests.support.batching import (
    ShiftedClock,
    chat_line,
    embedding_line,
    ended,
    jsonl,
    lines_of,
    make_batch,
    routed,
    worked,
)
from tests.support.gateways import HEADERS, KEY, OTHER_KEY, TENANT, Platform, front_of_house, loaded_settings
from tests.support.models import make_models
from tests.support.waiting import eventually

CHUNKS = {"batches": {"chunk_requests": 4}}


class Provider:
    """Answers embeddings with the length of the text; ``statuses`` are given first, by text; ``gate`` holds all."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[str] = []
        self.statuses: dict[str, list[int]] = {}
        self.gate = asyncio.Event()
        self.gate.set()

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json()
        text = body["input"]
        self.asked.append(text)
        await self.gate.wait()
        if waiting := self.statuses.get(text):
            status = waiting.pop(0)
            return web.json_response(
                {"error": {"message": "no", "type": "t", "param": None, "code": None}},
                status=status,
                headers={"Retry-After": "60" if len(waiting) > 9 else "0"},
            )
        data = [{"object": "embedding", "index": 0, "embedding": [len(text)]}]
        usage = {"prompt_tokens": 3, "total_tokens": 3}
        answer = {"object": "list", "data": data, "model": body["model"], "usage": usage}
        return web.Response(text=json.dumps(answer, indent=1), content_type="application/json")


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[Provider]:
    played = Provider()
    app = web.Application()
    app.router.add_post("/v1/embeddings", played.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    played.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield played
    await runner.cleanup()


@pytest_asyncio.fixture
async def served(redis_url: str, tmp_path: Path, provider: Provider) -> AsyncIterator[Platform]:
    models = make_models(chat_url=provider.url, embedding_url=provider.url)
    async with front_of_house(redis_url, tmp_path, models=models, changes=CHUNKS) as platform:
        yield platform


@pytest_asyncio.fixture
async def client(served: Platform) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key=KEY, max_retries=0, timeout=60) as made:
        yield made


async def test_files_are_kept_listed_read_and_deleted(client: openai.AsyncOpenAI, served: Platform) -> None:
    content = jsonl(embedding_line(f"r{n}", "ä" * n) for n in range(30)) + b'\n\n{"last": "without an end"}'
    made = await client.files.create(
        file=("../requests.jsonl", content),
        purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert (made.bytes, made.filename, made.purpose) == (len(content), "requests.jsonl", "batch")
    assert made.expires_at == made.created_at + 3600
    assert (await client.files.content(made.id)).content == content
    others = [await client.files.create(file=content[:100], purpose="batch") for _ in range(4)]
    assert await client.files.retrieve(made.id) == made
    newest_first = [file.id async for file in client.files.list(limit=2)]
    assert newest_first == [file.id for file in reversed([made, *others])]
    assert [file.id async for file in client.files.list(limit=3, order="asc")] == newest_first[::-1]
    assert (await client.files.list(purpose="batch_output")).data == []

    stranger = client.with_options(api_key=OTHER_KEY)
    for call in (stranger.files.retrieve, stranger.files.content, stranger.files.delete):
        with pytest.raises(openai.NotFoundError):
            await call(made.id)
    assert (await client.files.delete(made.id)).deleted
    for again in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError):
            await again(made.id)
    assert await served.ledger.files.forget_files(served.gateway_deps.clock.now_ms()) == 1


async def test_uploads_that_are_none_are_refused(redis_url: str, tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"purpose": "assistants", "file": b"{}"}, "purpose"),
        ({"purpose": "batch"}, "file"),
        ({"file": b"{}"}, "purpose"),
        ({"purpose": "batch", "file": b"{}", "expires_after[anchor]": "created_at"}, "expires_after[seconds]"),
        ({"purpose": "batch", "file": b"x" * 2_000}, "file"),
        ({"purpose": "batch", "note": "x" * 5_000, "file": b"{}"}, "note"),
    ]
    async with front_of_house(redis_url, tmp_path, changes={"batches": {"max_line_bytes": 1_000}}) as platform:
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            for fields, param in cases:
                form = aiohttp.FormData(default_to_multipart=True)
                for name, value in fields.items():
                    form.add_field(name, value, filename="f.jsonl" if name == "file" else None)
                async with session.post(f"{platform.url}/v1/files", data=form) as answer:
                    assert (answer.status, (await answer.json())["error"]["param"]) == (400, param)


async def test_an_upload_over_the_limit_is_refused_and_bodies_that_are_no_forms(redis_url: str, tmp_path: Path) -> None:
    async with front_of_house(redis_url, tmp_path, changes={"batches": {"max_file_bytes": 100_000}}) as platform:
        async with openai.AsyncOpenAI(base_url=f"{platform.url}/v1", api_key=KEY, max_retries=0) as client:
            for size in (100_001, 400_000):
                with pytest.raises(openai.APIStatusError) as caught:
                    await client.files.create(file=b"x\n" * (size // 2) + b"yyy", purpose="batch")
                assert caught.value.status_code == 413
            assert (await client.files.create(file=b"x" * 100_000, purpose="batch")).bytes == 100_000
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            broken = {"Content-Type": "multipart/form-data; boundary=b"}
            for headers, body in [({}, b"{}"), (broken, b"--b\r\nnonsense"), (broken, b""), (broken, b"--b--\r\n")]:
                async with session.post(f"{platform.url}/v1/files", data=body, headers=headers) as answer:
                    assert answer.status == 400, await answer.text()


async def test_a_batch_from_its_file_to_its_output(
    client: openai.AsyncOpenAI, served: Platform, provider: Provider
) -> None:
    provider.statuses = {"text 3": [400], "text 5": [500, 500], "text 7": [429, 503]}
    async with routed(served), worked(served):
        made = await make_batch(
            client,
            jsonl(embedding_line(f"r{n}", f"text {n}") for n in range(10)),
            "/v1/embeddings",
            metadata={"job": "nightly"},
        )
        assert (made.status, made.metadata) == ("validating", {"job": "nightly"})
        assert made.expires_at == made.created_at + 86_400
        done = await ended(client, made)
    assert (done.status, done.model, done.errors) == ("completed", "all-minilm-l6-v2", None)
    assert done.request_counts is not None
    assert done.request_counts.to_dict() == {"total": 10, "completed": 8, "failed": 2}
    assert done.usage is not None
    assert (done.usage.input_tokens, done.usage.total_tokens) == (24, 24)
    output = await lines_of(client, done.output_file_id)
    assert [line["custom_id"] for line in output] == [f"r{n}" for n in range(10) if n not in (3, 5)]
    assert {line["response"]["status_code"] for line in output} == {200}
    assert output[0]["response"]["body"]["data"][0]["embedding"] == [6]
    assert all(line["error"] is None and line["id"].startswith("batch_req_") for line in output)
    errors = await lines_of(client, done.error_file_id)
    assert [(line["custom_id"], line["response"]["status_code"]) for line in errors] == [("r3", 400), ("r5", 500)]
    assert errors[0]["response"]["body"]["error"]["message"] == "no"
    assert (await client.files.retrieve(done.output_file_id or "")).purpose == "batch_output"


async def test_what_is_wrong_with_a_file_is_said_by_line(client: openai.AsyncOpenAI, served: Platform) -> None:
    wrong: list[dict[str, Any] | str] = [
        embedding_line("a", "fine"),
        "{no json",
        "",
        embedding_line("a", "twice"),
        chat_line("b", "another endpoint"),
        embedding_line("c", "x", model="all-minilm"),
        {"custom_id": "d"},
        {**embedding_line("e", "x"), "method": "GET"},
        embedding_line("f", "x", stream=True),
    ]
    async with routed(served):
        batches = [
            await make_batch(client, jsonl(wrong), "/v1/embeddings"),
            await make_batch(client, b"\n \n", "/v1/embeddings"),
            await make_batch(client, jsonl([chat_line("x", "y")]), "/v1/embeddings"),
        ]
        done = [await ended(client, batch) for batch in batches]
    assert [batch.status for batch in done] == ["failed"] * 3
    assert [batch.failed_at is not None for batch in done] == [True] * 3
    faults = [[(e.line, e.code) for e in (batch.errors.data if batch.errors else None) or []] for batch in done]
    assert faults == [
        [
            (2, "invalid_json_line"),
            (4, "duplicate_custom_id"),
            (5, "mismatched_url"),
            (6, "model_not_found"),
            (7, "invalid_line"),
            (8, "invalid_method"),
            (9, "invalid_request"),
        ],
        [(None, "empty_file")],
        [(1, "mismatched_url")],
    ]
    assert [batch.output_file_id for batch in done] == [None] * 3
    with pytest.raises(openai.ConflictError):
        await client.batches.cancel(done[0].id)
    with pytest.raises(openai.NotFoundError):
        await client.batches.create(
            input_file_id="file-" + "0" * 32, endpoint="/v1/embeddings", completion_window="24h"
        )
    with pytest.raises(openai.BadRequestError):
        await client.batches.create(
            input_file_id=done[0].input_file_id, endpoint="/v1/moderations", completion_window="24h"
        )


async def test_too_many_lines(redis_url: str, tmp_path: Path) -> None:
    async with front_of_house(redis_url, tmp_path, changes={"batches": {"max_requests": 5}}) as platform:
        async with openai.AsyncOpenAI(base_url=f"{platform.url}/v1", api_key=KEY) as client, routed(platform):
            made = await make_batch(client, jsonl(embedding_line(str(n), "x") for n in range(9)), "/v1/embeddings")
            done = await ended(client, made)
    assert done.errors is not None
    assert [error.code for error in done.errors.data or []] == ["too_many_tasks"]


async def test_cancelling_stops_what_has_not_begun(
    client: openai.AsyncOpenAI, served: Platform, provider: Provider
) -> None:
    provider.gate.clear()
    async with routed(served), worked(served, slots=1):
        made = await make_batch(
            client, jsonl(embedding_line(f"r{n}", f"text {n}") for n in range(20)), "/v1/embeddings"
        )
        await eventually(lambda: provider.asked, 20)
        cancelling = await client.batches.cancel(made.id)
        assert cancelling.status == "cancelling"
        assert (await client.batches.cancel(made.id)).status == "cancelling"

        async def others_are_cancelled() -> bool:
            stats = {entry.stream: entry for entry in await served.queue.stats() if entry.waiting or entry.running}
            return stats["batch"].waiting == 0

        await eventually(others_are_cancelled, 20)
        provider.gate.set()
        done = await ended(client, made)
    assert done.status == "cancelled"
    assert done.cancelled_at is not None
    assert len(provider.asked) == 4
    assert [line["custom_id"] for line in await lines_of(client, done.output_file_id)] == ["r0", "r1", "r2", "r3"]
    errors = await lines_of(client, done.error_file_id)
    assert [line["custom_id"] for line in errors] == [f"r{n}" for n in range(4, 20)]
    assert {line["error"]["code"] for line in errors} == {"batch_cancelled"}
    assert done.request_counts is not None
    assert (done.request_counts.completed, done.request_counts.failed) == (4, 16)
    listed = [batch.id async for batch in client.batches.list(limit=1)]
    assert listed[-1] == made.id


async def test_what_is_done_when_the_window_ends_is_kept(
    client: openai.AsyncOpenAI, served: Platform, provider: Provider
) -> None:
    provider.statuses = {"text 5": [429] * 50}
    clock = ShiftedClock()
    async with routed(served, clock), worked(served):
        made = await make_batch(
            client, jsonl(embedding_line(f"r{n}", f"text {n}") for n in range(12)), "/v1/embeddings"
        )

        async def others_are_done() -> bool:
            counts = (await client.batches.retrieve(made.id)).request_counts
            return counts is not None and counts.completed == 8

        await eventually(others_are_done, 30)
        clock.ahead_ms = 86_400_000
        done = await ended(client, made)
    assert done.status == "expired"
    assert done.expired_at is not None
    done_ids = [line["custom_id"] for line in await lines_of(client, done.output_file_id)]
    assert done_ids == [f"r{n}" for n in (0, 1, 2, 3, 8, 9, 10, 11)]
    errors = await lines_of(client, done.error_file_id)
    assert [line["custom_id"] for line in errors] == ["r4", "r5", "r6", "r7"]
    assert {line["error"]["code"] for line in errors} == {"batch_expired"}


async def test_a_router_and_a_worker_that_change_in_the_middle_neither_lose_nor_double_a_line(
    client: openai.AsyncOpenAI, served: Platform, provider: Provider
) -> None:
    made = await make_batch(client, jsonl(embedding_line(f"r{n}", f"text {n}") for n in range(60)), "/v1/embeddings")
    for turn in range(4):
        async with routed(served):
            provider.gate.clear()
            worker = worked(served, slots=2)
            async with worker:
                before = len(provider.asked)
                await eventually(lambda: len(provider.asked) > before, 20)  # noqa: B023
                if turn % 2:
                    provider.gate.set()
    provider.gate.set()
    async with routed(served), worked(served):
        done = await ended(client, made)
    output = await lines_of(client, done.output_file_id)
    assert [line["custom_id"] for line in output] == [f"r{n}" for n in range(60)]
    assert done.request_counts is not None
    assert done.request_counts.to_dict() == {"total": 60, "completed": 60, "failed": 0}


async def test_a_batch_waits_for_its_tenants_budget_and_costs_half(
    redis_url: str, tmp_path: Path, provider: Provider
) -> None:
    settings = loaded_settings(tmp_path).settings
    priced = {"all-minilm-l6-v2": replace(settings.models["all-minilm-l6-v2"], usd_per_1k_input_tokens=1.0)}
    models = make_models(embedding_url=provider.url, changed=priced)
    # A line of 4 characters counts as 3 tokens, which is $0.0015 at half the price: two chunks of four lines fit.
    tenant = TenantSettings(budget=TenantBudget(usd_per_day=0.013))
    changes: dict[str, dict[str, Any]] = {**CHUNKS, "models": priced, "tenants": {TENANT: tenant}}
    async with front_of_house(redis_url, tmp_path, models=models, changes=changes) as platform:
        async with openai.AsyncOpenAI(base_url=f"{platform.url}/v1", api_key=KEY) as client:
            async with routed(platform), worked(platform):
                made = await make_batch(
                    client, jsonl(embedding_line(f"r{n}", "four") for n in range(8)), "/v1/embeddings"
                )
                done = await ended(client, made)
                assert (done.status, len(await lines_of(client, done.output_file_id))) == ("completed", 8)
                more = await make_batch(client, jsonl(embedding_line("r", "four") for n in range(1)), "/v1/embeddings")

                async def waits() -> bool:
                    now = (await client.batches.retrieve(more.id)).to_dict()
                    return "usd_per_day" in str(now["waits_for"])

                await eventually(waits, 30)
                await client.batches.cancel(more.id)
                assert (await ended(client, more)).status == "cancelled"

            async def recorded() -> bool:
                page = await platform.ledger.tasks(TaskFilter(types=("openai_batch",)), None, 10)
                return [task.usage.cost_nano_usd for task in page.tasks] == [6_000_000, 6_000_000]

            await eventually(recorded, 20)
