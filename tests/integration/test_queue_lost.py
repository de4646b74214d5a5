"""The proof of durability ``ledger``: the queue is lost completely, more than once, and every task succeeds."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sophia.embedded.redis_server import RedisServer
from sophia.nouns.errors import RateLimited, Unavailable
from sophia.nouns.payloads import Light, LightAnswer
from sophia.nouns.task import AttemptOutcome, Durability, Priority, Route, Target, Task, TaskState
from sophia.store.base import TaskFilter
from sophia.worker.context import TaskContext
from tests.support.lossy_platform import LossyPlatform, lossy_platform
from tests.support.tasks import make_task
from tests.support.waiting import eventually

HELD, UNSERVED, SCHEDULED, SHAKY, LARGE, QUICK = 8, 30, 12, 20, 20, 60
TASKS = HELD + UNSERVED + SCHEDULED + SHAKY + LARGE + QUICK


def of_kind(kind: str, count: int, **changes: Any) -> list[Task]:
    """Of two tenants and all priorities, with idempotency keys and without."""
    return [
        make_task(
            **{
                "durability": Durability.LEDGER,
                "tenant": ("acme", "globex")[number % 2],
                "priority": Priority(number % 4),
                "idempotency_key": f"{kind}-{number}" if number % 3 else None,
                "payload": {"prompt": f"{kind} " + "x" * (6_000 if kind == "large" else 10)},
                **changes,
            }
        )
        for number in range(count)
    ]


def tasks_of_all_kinds() -> list[Task]:
    elsewhere = Route(stream="research", target=Target.CPU, reason="else")
    return [
        *of_kind("held", HELD),
        *of_kind("unserved", UNSERVED, route=elsewhere),
        *of_kind("scheduled", SCHEDULED, run_at_ms=time.time_ns() // 1_000_000 + 16_000),
        *of_kind("shaky", SHAKY),
        *of_kind("large", LARGE),
        *of_kind("quick", QUICK),
    ]


async def submitted(platform: LossyPlatform, task: Task) -> str:
    """Sent again while the queue is away. A caller without a key could not know whether that makes a second task; the
    same id keeps it from that."""
    while True:
        try:
            (receipt,) = await platform.intake.submit([task])
        except Unavailable:
            continue
        return receipt.task_id


async def states(platform: LossyPlatform) -> Counter[TaskState]:
    page = await platform.ledger.tasks(TaskFilter(durability=Durability.LEDGER), None, 1_000)
    return Counter(record.state for record in page.tasks)


def restorations(caplog: pytest.LogCaptureFixture) -> int:
    return sum("the queue had lost tasks" in record.message for record in caplog.records)


async def test_lost_twice_with_tasks_at_every_stage_all_succeed(
    own_redis: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    release = asyncio.Event()

    async def handle(context: TaskContext, payload: Light) -> LightAnswer:
        kind = payload.prompt.partition(" ")[0]
        if kind == "held":
            await release.wait()
        if kind == "shaky" and context.attempt == 1:
            raise RateLimited("slow down", retry_after_s=12)
        await context.progress(1, 1, "done")
        return LightAnswer(text=payload.prompt[::-1], finish_reason="stop", model="none")

    tasks = tasks_of_all_kinds()
    async with lossy_platform(own_redis, tmp_path, inline_max_bytes=4_000) as platform:

        async def at_every_stage() -> bool:
            now = await states(platform)
            return (
                now[TaskState.RUNNING] >= HELD
                and now[TaskState.QUEUED] >= UNSERVED
                # Restored, those that were retrying are scheduled for when they were due.
                and now[TaskState.SCHEDULED] + now[TaskState.RETRYING] >= SCHEDULED + SHAKY
                and now[TaskState.SUCCEEDED] >= (LARGE + QUICK) // 2
            )

        async def held_again() -> bool:
            records = [await platform.ledger.task(task.id) for task in tasks[:HELD]]
            return all(r and r.state is TaskState.RUNNING and len(r.attempts) >= 2 for r in records)

        async def all_succeeded() -> bool:
            return await states(platform) == {TaskState.SUCCEEDED: TASKS}

        async with platform.router(), platform.workers({"light": handle}, ("light",)):
            sent = await asyncio.gather(*(submitted(platform, task) for task in tasks[:-20]))
            await eventually(at_every_stage, 20)
            late = [asyncio.create_task(submitted(platform, task)) for task in tasks[-20:]]
            await platform.wipe()
            sent += await asyncio.gather(*late)
            await eventually(held_again, 20)
            await eventually(at_every_stage, 20)
            before = restorations(caplog)
            await platform.lose_the_disk()
            await eventually(lambda: restorations(caplog) > before, 40)
            release.set()
            async with platform.workers({"light": handle}, ("research",), name="other"):
                await eventually(all_succeeded, 60)
        assert sent == [task.id for task in tasks]
        await check_histories(platform, tasks)


async def check_histories(platform: LossyPlatform, tasks: list[Task]) -> None:
    interrupted = 0
    for task in tasks:
        record = await platform.ledger.task(task.id)
        assert record is not None
        numbers = [attempt.number for attempt in record.attempts]
        assert numbers == sorted(set(numbers))
        assert [attempt.outcome for attempt in record.attempts].count(AttemptOutcome.SUCCEEDED) == 1
        assert all(attempt.ended_at_ms is not None for attempt in record.attempts)
        interrupted += sum(
            attempt.error is not None and attempt.error.code == "queue_lost" for attempt in record.attempts
        )
    assert interrupted >= 2 * HELD
    left = await platform.queue.stats()
    assert sum((row.waiting or 0) + (row.running or 0) + (row.delayed or 0) + (row.retrying or 0) for row in left) == 0
