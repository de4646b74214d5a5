"""Payloads and results of any size, from the API to the worker and back."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest_asyncio

from sophia.inference.directory import ModelDirectory
from sophia.nouns.clock import ManualClock, SystemClock
from sophia.nouns.objects import ObjectRef, as_value, reference_in
from sophia.nouns.payloads import BatchEmbedding, Embeddings, Light, LightAnswer
from sophia.nouns.task import TaskState
from sophia.objects.packing import Packing
from sophia.objects.places import open_objects
from sophia.queue.redis import RedisWorkQueue
from sophia.redis.connection import Client
from sophia.router.sweep import BATCH, SWEEP_EVERY_S, Sweeper
from sophia.worker.context import TaskContext
from sophia.worker.runtime import Worker
from tests.support.gateways import OTHER_HEADERS, Platform
from tests.support.records import START_MS, finished, queued
from tests.support.tasks import make_task
from tests.support.waiting import eventually

DAY_S = 86_400
TEXTS = [f"text {number} " + "x" * 180 for number in range(2_000)]
LARGE = {"type": "batch_embedding", "payload": {"texts": TEXTS}}
WIDTH = 384


async def embed(context: TaskContext, payload: BatchEmbedding) -> Embeddings:
    vectors = [[(row + column) / 7 for column in range(WIDTH)] for row in range(len(payload.texts))]
    return Embeddings(
        model="none",
        dimensions=WIDTH,
        count=len(vectors),
        encoding="float",
        vectors=vectors,
        tokens=len(payload.texts),
        truncated=0,
    )


async def echo(context: TaskContext, payload: Light) -> LightAnswer:
    return LightAnswer(text=payload.prompt[::-1], finish_reason="stop", model="none")


@pytest_asyncio.fixture
async def worker(platform: Platform, blocking_client: Client) -> AsyncIterator[Worker]:
    settings = platform.loaded.settings
    queue = RedisWorkQueue(platform.client, blocking_client, platform.queue_options)
    worker = Worker(
        "w1",
        "cpu-workers",
        ("light", "embedding"),
        4,
        queue=queue,
        models=ModelDirectory(settings, {}),
        settings=settings,
        handlers={"batch_embedding": embed, "light": echo},
        clock=SystemClock(),
        drain_s=5.0,
        packing=platform.packing,
    )
    running = asyncio.create_task(worker.run())
    yield worker
    worker.stop()
    await asyncio.wait_for(running, 20)
    await queue.close()


async def submit(
    api: aiohttp.ClientSession, body: Any = LARGE, status: int = 202, headers: dict[str, str] | None = None
) -> Any:
    async with api.post("/v1/tasks", json=body, headers=headers) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


async def read(api: aiohttp.ClientSession, path: str, status: int = 200, headers: dict[str, str] | None = None) -> Any:
    async with api.get(path, headers=headers) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


async def test_a_large_task_travels_light(platform: Platform, api: aiohttp.ClientSession, worker: Worker) -> None:
    accepted = await submit(api, {**LARGE, "durability": "ledger"})
    task = await read(api, f"/v1/tasks/{accepted['id']}?wait=30")
    assert (task["state"], task["title"], task["durability"]) == ("succeeded", "2000 texts", "ledger")
    assert task["payload"] == LARGE["payload"]
    assert task["result"]["vectors"][1999][383] == (1999 + 383) / 7
    # The queue and the ledger hold references only, and lists need nothing else.
    (record,) = await platform.queue.get([accepted["id"]])
    assert record is not None
    payload, result = reference_in(record.task.payload), reference_in(record.result)
    assert payload is not None
    assert result is not None
    assert result.bytes > 6_000_000
    await platform.record()
    assert len(msgspec.json.encode(await platform.ledger.task(accepted["id"]))) < 2_500
    assert (await platform.client.info("memory"))["used_memory_dataset"] < 1_500_000
    shutil.rmtree(platform.loaded.data_dir / "objects")
    (listed,) = (await read(api, "/v1/tasks"))["tasks"]
    assert (listed["title"], listed["state"]) == ("2000 texts", "succeeded")
    assert await platform.ledger.referenced([payload.key, result.key]) == {payload.key, result.key}


async def test_small_values_stay_where_they_are(platform: Platform, api: aiohttp.ClientSession, worker: Worker) -> None:
    accepted = await submit(api, {"type": "light", "payload": {"prompt": "abc"}})
    assert (await read(api, f"/v1/tasks/{accepted['id']}?wait=10"))["result"]["text"] == "cba"
    assert not (platform.loaded.data_dir / "objects").exists()


async def test_the_same_key_with_the_same_large_payload_is_the_same_task(api: aiohttp.ClientSession) -> None:
    key = {"Idempotency-Key": "k"}
    payload = {"texts": TEXTS, "encoding": "float"}
    first = await submit(api, {**LARGE, "payload": payload}, headers=key)
    again = await submit(api, {**LARGE, "payload": dict(reversed(payload.items()))}, headers=key)
    assert (again["id"], again["duplicate"]) == (first["id"], True)
    await submit(api, {**LARGE, "payload": {"texts": [*TEXTS, "more"], "encoding": "float"}}, 409, key)


async def test_a_batch_of_large_and_small(platform: Platform, api: aiohttp.ClientSession) -> None:
    small = {"type": "light", "payload": {"prompt": "abc"}}
    async with api.post("/v1/tasks/batch", json={"tasks": [LARGE, small, LARGE]}) as answer:
        ids = [task["id"] for task in (await answer.json())["tasks"]]
    records = await platform.queue.get(ids)
    assert [r is not None and reference_in(r.task.payload) is not None for r in records] == [True, False, True]


async def test_a_reference_cannot_be_smuggled_in(api: aiohttp.ClientSession) -> None:
    ref = as_value(ObjectRef(sha256="0" * 64, bytes=1, day="20260101"))
    problem = await submit(api, {"type": "batch_embedding", "payload": ref}, 422)
    assert problem["field"] == "payload.$object"


async def test_a_lost_object_is_an_error_that_says_so_and_never_a_hang(
    platform: Platform, api: aiohttp.ClientSession, blocking_client: Client, worker: Worker
) -> None:
    done = await submit(api)
    assert (await read(api, f"/v1/tasks/{done['id']}?wait=30"))["state"] == "succeeded"
    shutil.rmtree(platform.loaded.data_dir / "objects")
    problem = await read(api, f"/v1/tasks/{done['id']}", 410)
    assert problem["code"] == "object_missing"
    await read(api, f"/v1/tasks/{done['id']}", 404, headers=OTHER_HEADERS)
    # A worker that finds no payload fails the task at once: trying again would not help.
    ref = as_value(ObjectRef(sha256="0" * 64, bytes=1, day="20260101", title="2 texts"))
    task = make_task(tenant="acme", payload=ref)
    await platform.queue.submit([task])

    async def final() -> Any:
        (record,) = await platform.queue.get([task.id])
        return record if record is not None and record.state.is_final else None

    record = await eventually(final, 10)
    assert (record.state, record.error.code, len(record.attempts)) == (TaskState.FAILED, "object_missing", 1)


async def test_while_the_store_is_away_large_submissions_wait_and_small_ones_do_not(
    platform: Platform, api: aiohttp.ClientSession
) -> None:
    blocker = platform.loaded.data_dir / "objects"
    blocker.write_text("in the way")
    problem = await submit(api, LARGE, 503)
    assert problem["code"] == "unavailable"
    await submit(api, {"type": "light", "payload": {"prompt": "abc"}})
    blocker.unlink()
    await submit(api)


async def test_a_result_waits_for_a_store_that_comes_back(
    platform: Platform, api: aiohttp.ClientSession, worker: Worker
) -> None:
    # The payload is small, its result is not.
    blocker = platform.loaded.data_dir / "objects"
    blocker.write_text("in the way")
    texts = [f"t{number}" for number in range(200)]
    accepted = await submit(api, {"type": "batch_embedding", "payload": {"texts": texts}})

    async def running() -> bool:
        return bool((await read(api, f"/v1/tasks/{accepted['id']}"))["state"] == "running")

    await eventually(running, 10)
    blocker.unlink()
    task = await read(api, f"/v1/tasks/{accepted['id']}?wait=20")
    assert (task["state"], len(task["attempts"]), len(task["result"]["vectors"])) == ("succeeded", 1, 200)


class TestSweeping:
    async def test_what_no_task_needs_goes_and_the_rest_stays(self, platform: Platform, tmp_path: Path) -> None:
        clock = ManualClock(START_MS)
        store = open_objects(None, tmp_path / "other", clock)
        sweeper = Sweeper(store, platform.ledger, clock)
        needed, pruned, orphan = [await store.put(body) for body in (b"needed", b"pruned", b"orphan")]
        await platform.ledger.record(
            [queued(make_task(payload=as_value(needed))), finished(make_task(payload=as_value(pruned)))]
        )
        clock.advance(DAY_S)
        assert await sweeper.sweep_some() == SWEEP_EVERY_S
        # Too young: its task may be on its way to the ledger.
        assert await store.get(orphan) == b"orphan"
        clock.advance(DAY_S)
        again = await store.put(b"orphan")
        await sweeper.sweep_some()
        assert set(await store.stored_before(clock.now_ms() + 2 * DAY_S * 1000, "", 10)) == {
            needed.key,
            pruned.key,
            again.key,
        }
        await platform.ledger.prune(START_MS + 1, 10)
        await sweeper.sweep_some()
        assert await store.stored_before(clock.now_ms(), "", 10) == [needed.key]
        assert await store.get(needed) == b"needed"

    async def test_passes_are_bounded_and_go_on_where_they_stopped(self, platform: Platform, tmp_path: Path) -> None:
        clock = ManualClock(START_MS)
        store = open_objects(None, tmp_path / "other", clock)
        refs = [await store.put(str(number).encode()) for number in range(20)]
        day = tmp_path / "other/objects" / refs[0].day
        for number in range(BATCH):
            (day / f"{number:064x}").write_bytes(b"")
        kept = sorted(refs, key=lambda ref: ref.key)[:7]
        await platform.ledger.record([queued(make_task(payload=as_value(ref))) for ref in kept])
        clock.advance(3 * DAY_S)
        sweeper = Sweeper(store, platform.ledger, clock)
        assert await sweeper.sweep_some() == 1.0
        assert await sweeper.sweep_some() == SWEEP_EVERY_S
        assert {path.name for path in day.iterdir()} == {ref.sha256 for ref in kept}


async def test_a_process_without_a_store_says_so() -> None:
    packing = Packing(None, 10)
    (task,) = await packing.tasks([make_task(payload={"prompt": "x" * 100})])
    assert reference_in(task.payload) is None
