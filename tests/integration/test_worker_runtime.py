"""The worker over a real queue: outcomes, cancellation, drain, loss of the lease."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
import pytest_asyncio

from sophia.inference.directory import ModelDirectory
from sophia.nouns.clock import SystemClock
from sophia.nouns.errors import LeaseLost, RateLimited, Unavailable
from sophia.nouns.payloads import LightAnswer
from sophia.nouns.task import AttemptOutcome, Task, TaskRecord, TaskState
from sophia.queue.redis import QueueOptions, RedisTaskQueue, RedisUpkeep, RedisWorkQueue
from sophia.redis.connection import Client
from sophia.settings.load import load
from sophia.settings.loaded import Loaded
from sophia.worker.context import Handler, TaskContext
from sophia.worker.runtime import Worker
from tests.support.tasks import make_task
from tests.support.waiting import eventually

OPTIONS = QueueOptions(streams=("planning", "coding", "embedding", "research", "light"), lease_s=1.0)


class Bench(msgspec.Struct):
    """A queue, and workers with handlers of the test's own."""

    loaded: Loaded
    client: Client
    blocking: Client
    tasks: RedisTaskQueue
    upkeep: RedisUpkeep
    running: list[tuple[Worker, asyncio.Task[None], RedisWorkQueue]]

    def start(
        self,
        handler: Handler,
        *,
        name: str = "w1",
        slots: int = 4,
        drain_s: float = 5.0,
        clock: SystemClock | None = None,
    ) -> Worker:
        settings = self.loaded.settings
        queue = RedisWorkQueue(self.client, self.blocking, OPTIONS)
        worker = Worker(
            name,
            "cpu-workers",
            ("light",),
            slots,
            queue=queue,
            models=ModelDirectory(settings, {}),
            settings=settings,
            handlers={"light": handler},
            clock=clock or SystemClock(),
            drain_s=drain_s,
        )
        self.running.append((worker, asyncio.create_task(worker.run()), queue))
        return worker

    async def finished(self, task: Task, timeout_s: float = 10) -> TaskRecord:
        async def final() -> TaskRecord | None:
            await self.upkeep.upkeep(100)
            (record,) = await self.tasks.get([task.id])
            return record if record and record.state.is_final else None

        record: TaskRecord = await eventually(final, timeout_s)
        return record

    async def state(self, task: Task) -> TaskState:
        (record,) = await self.tasks.get([task.id])
        assert record is not None
        return record.state


@pytest_asyncio.fixture
async def bench(redis_client: Client, blocking_client: Client, tmp_path: Any) -> AsyncIterator[Bench]:
    loaded = load(None, tmp_path, {}, "local")
    queue = msgspec.structs.replace(
        loaded.settings.queue,
        lease_s=1.0,
        heartbeat_s=0.2,
        retry=msgspec.structs.replace(loaded.settings.queue.retry, base_s=0.1, max_s=0.2),
    )
    loaded = msgspec.structs.replace(loaded, settings=msgspec.structs.replace(loaded.settings, queue=queue))
    bench = Bench(
        loaded=loaded,
        client=redis_client,
        blocking=blocking_client,
        tasks=RedisTaskQueue(redis_client, OPTIONS),
        upkeep=RedisUpkeep(redis_client, blocking_client, OPTIONS),
        running=[],
    )
    yield bench
    for worker, _, _ in bench.running:
        worker.stop()
    for _, run, queue_of_worker in bench.running:
        await asyncio.wait_for(run, 20)
        await queue_of_worker.close()


def answer(text: str) -> LightAnswer:
    return LightAnswer(text=text, finish_reason="stop", model="none")


async def echo(context: TaskContext, payload: Any) -> LightAnswer:
    await context.progress(1, 1, "echoed")
    return answer(payload.prompt)


async def test_tasks_succeed_side_by_side(bench: Bench) -> None:
    tasks = [make_task() for _ in range(40)]
    await bench.tasks.submit(tasks)
    bench.start(echo)
    for task in tasks:
        record = await bench.finished(task)
        assert record.result["text"] == task.payload["prompt"]
        assert record.usage.run_s >= 0


async def test_a_retryable_error_is_tried_again_and_a_bug_is_not(bench: Bench) -> None:
    seen: dict[str, int] = {}

    async def moody(context: TaskContext, payload: Any) -> LightAnswer:
        number = seen[payload.prompt] = seen.get(payload.prompt, 0) + 1
        if payload.prompt == "bug":
            raise KeyError("oops")
        if payload.prompt == "limited" and number == 1:
            raise RateLimited("slow down", retry_after_s=0.3)
        if payload.prompt == "hopeless" or number < 3:
            raise Unavailable("the model is away")
        return answer("at last")

    shaky, bug, hopeless, limited = (make_task(payload={"prompt": p}) for p in ("shaky", "bug", "hopeless", "limited"))
    await bench.tasks.submit([shaky, bug, hopeless, limited])
    bench.start(moody)
    record = await bench.finished(shaky)
    assert record.state is TaskState.SUCCEEDED
    assert [a.outcome for a in record.attempts] == [AttemptOutcome.RETRYING] * 2 + [AttemptOutcome.SUCCEEDED]
    record = await bench.finished(bug)
    assert (record.state, record.error and record.error.code) == (TaskState.FAILED, "handler_error")
    record = await bench.finished(hopeless)
    assert (record.state, len(record.attempts)) == (TaskState.DEAD, 3)
    record = await bench.finished(limited)
    first, second = record.attempts[:2]
    assert second.started_at_ms - (first.ended_at_ms or 0) >= 250


async def test_a_payload_that_cannot_be_decoded_fails_with_its_field(bench: Bench) -> None:
    task = make_task(payload={"prompt": 7})
    await bench.tasks.submit([task])
    bench.start(echo)
    record = await bench.finished(task)
    assert record.state is TaskState.FAILED
    assert record.error is not None
    assert record.error.code == "invalid_request"


class Blocker:
    """A handler that goes on until it is cancelled or let go."""

    def __init__(self) -> None:
        self.started = 0
        self.cancelled = 0
        self.go = asyncio.Event()

    async def __call__(self, context: TaskContext, payload: Any) -> LightAnswer:
        self.started += 1
        try:
            await asyncio.wait_for(self.go.wait(), 30)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return answer("done")


async def test_cancelling_a_running_task_cancels_its_handler(bench: Bench) -> None:
    blocker = Blocker()
    task = make_task()
    await bench.tasks.submit([task])
    bench.start(blocker)
    await eventually(lambda: blocker.started)
    await bench.tasks.cancel(task.id, "enough")
    record = await bench.finished(task)
    assert record.state is TaskState.CANCELLED
    assert blocker.cancelled == 1


async def test_an_attempt_that_runs_too_long_times_out(bench: Bench) -> None:
    blocker = Blocker()
    task = make_task(timeout_s=0.2)
    await bench.tasks.submit([task])
    bench.start(blocker)
    record = await bench.finished(task)
    assert (record.state, record.error and record.error.code) == (TaskState.FAILED, "timed_out")


async def test_a_drained_worker_hands_back_and_another_finishes(bench: Bench) -> None:
    blocker = Blocker()
    task = make_task(max_attempts=1)
    await bench.tasks.submit([task])
    first = bench.start(blocker, drain_s=3.2)
    await eventually(lambda: blocker.started)
    first.stop()
    await asyncio.wait_for(bench.running[0][1], 10)
    assert await bench.state(task) is TaskState.QUEUED
    bench.start(echo, name="w2")
    record = await bench.finished(task)
    assert record.state is TaskState.SUCCEEDED
    assert [a.outcome for a in record.attempts] == [AttemptOutcome.HANDED_BACK, AttemptOutcome.SUCCEEDED]


async def test_a_draining_worker_lets_running_work_finish(bench: Bench) -> None:
    blocker = Blocker()
    task = make_task()
    await bench.tasks.submit([task])
    worker = bench.start(blocker, drain_s=20)
    await eventually(lambda: blocker.started)
    worker.stop()
    late = make_task()
    await bench.tasks.submit([late])
    blocker.go.set()
    await asyncio.wait_for(bench.running[0][1], 10)
    assert await bench.state(task) is TaskState.SUCCEEDED
    assert await bench.state(late) is TaskState.QUEUED


async def test_a_worker_whose_pool_asks_for_it_drains(bench: Bench) -> None:
    bench.start(echo)
    await eventually(lambda: bench.tasks.workers())
    await bench.upkeep.request_stop("w1")
    blocker_task = make_task()
    await bench.tasks.submit([blocker_task])
    await asyncio.wait_for(bench.running[0][1], 15)
    assert await bench.tasks.workers() == []


async def test_a_worker_that_lost_its_lease_stops_the_handler_and_settles_nothing(bench: Bench) -> None:
    blocker = Blocker()
    task = make_task()
    await bench.tasks.submit([task])
    bench.start(blocker)
    await eventually(lambda: blocker.started)
    await bench.client.zadd("sophia:{0}:leases", {task.id: 1})
    await bench.upkeep.upkeep(100)
    blocker.go = asyncio.Event()
    await eventually(lambda: blocker.cancelled == 1)
    blocker.go.set()
    record = await bench.finished(task)
    assert [a.outcome for a in record.attempts] == [AttemptOutcome.LOST, AttemptOutcome.SUCCEEDED]


class SteppingClock(SystemClock):
    """Time that a test can push on, as it is for a process that was stopped and woken."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s


async def test_a_woken_worker_spends_nothing_on_an_attempt_that_may_be_anothers(bench: Bench) -> None:
    clock = SteppingClock()
    refused: list[str] = []

    async def sleeper(context: TaskContext, payload: Any) -> LightAnswer:
        clock.ahead_s += 5
        try:
            await context.embed(["a text"], model="all-minilm-l6-v2")
        except LeaseLost as error:
            refused.append(error.message)
            raise
        return answer("spent")

    task = make_task()
    await bench.tasks.submit([task])
    bench.start(sleeper, clock=clock)
    await eventually(lambda: refused)
    record = (await bench.tasks.get([task.id]))[0]
    assert record is not None
    assert record.state is TaskState.RUNNING, "a lost attempt settles nothing"


async def test_work_goes_on_over_a_restart_of_redis(tmp_path: Any, own_redis: Any) -> None:
    from sophia.redis.connection import connect

    client, blocking = connect(own_redis.url), connect(own_redis.url, reply_timeout_s=70)
    loaded = load(None, tmp_path, {}, "local")
    bench = Bench(
        loaded=loaded,
        client=client,
        blocking=blocking,
        tasks=RedisTaskQueue(client, OPTIONS),
        upkeep=RedisUpkeep(client, blocking, OPTIONS),
        running=[],
    )
    results: Mapping[str, Task] = {task.id: task for task in (make_task(max_attempts=10) for _ in range(60))}

    async def slowly(context: TaskContext, payload: Any) -> LightAnswer:
        await asyncio.wait({asyncio.create_task(asyncio.Event().wait())}, timeout=0.05)
        return await echo(context, payload)

    await bench.tasks.submit(list(results.values()))
    bench.start(slowly)
    await eventually(lambda: bench.running[0][0]._done > 10)
    own_redis.process.kill()
    await own_redis.wait()
    await own_redis.start()
    for task in results.values():
        record = await bench.finished(task, 30)
        assert record.state is TaskState.SUCCEEDED
        assert record.result["text"] == task.payload["prompt"]
    bench.running[0][0].stop()
    await asyncio.wait_for(bench.running[0][1], 20)
    await bench.running[0][2].close()
    await client.aclose()
    await blocking.aclose()
