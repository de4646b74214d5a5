"""Schedules over a real queue: each occurrence once, across leaders, restarts and missed time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from sophia.embedded.redis_server import RedisServer
from sophia.events.redis import RedisEventLog
from sophia.intake import Intake
from sophia.nouns.budget import TenantBudget
from sophia.nouns.errors import Unavailable
from sophia.nouns.schedule import SCHEDULES_SNAPSHOT, SchedulesSnapshot, ScheduleState
from sophia.nouns.submission import Submission
from sophia.nouns.task import Priority, Task
from sophia.objects.packing import Packing
from sophia.objects.places import open_objects
from sophia.queue.redis import QueueOptions, RedisTaskQueue, RedisUpkeep, RedisWorkQueue
from sophia.redis.connection import Client, connect
from sophia.router.schedules import Scheduler
from sophia.router.service import Router
from sophia.router.sweep import Sweeper
from sophia.settings.load import merged_settings
from sophia.settings.model import ScheduleSettings, Settings, TenantSettings
from sophia.store.sql import open_ledger
from tests.support.budget_accounts import open_accounts
from tests.support.clocks import WallClock
from tests.support.waiting import eventually

STREAMS = ("planning", "coding", "embedding", "research", "light")
OPTIONS = QueueOptions(streams=STREAMS, budgets={"broke": TenantBudget(usd_per_day=0.5)})
LIGHT = Submission(type="light", payload={"prompt": "report"}, priority="low", labels={"team": "a"})


def every(cron: str, **changes: Any) -> ScheduleSettings:
    return ScheduleSettings(**{"cron": cron, "task": LIGHT, **changes})


class Bench:
    def __init__(self, client: Client, blocking: Client, data_dir: Path) -> None:
        self.client, self.blocking, self.data_dir = client, blocking, data_dir
        self.queue = RedisTaskQueue(client, OPTIONS)
        self.work = RedisWorkQueue(client, blocking, OPTIONS)
        self.events = RedisEventLog(client, blocking, OPTIONS)
        self.clock = WallClock("2026-01-01T12:00:30Z")
        self.tasks: list[Task] = []

    def settings(self, **schedules: ScheduleSettings) -> Settings:
        tenants = {"broke": TenantSettings(budget=OPTIONS.budgets["broke"])}
        packaged = merged_settings(None, {}, "local")
        return msgspec.structs.replace(packaged, schedules=schedules, tenants=tenants)

    def scheduler(self, **schedules: ScheduleSettings) -> Scheduler:
        return Scheduler(self.settings(**schedules), self.queue, self.events, self.clock)

    async def occurrences(self) -> list[str]:
        """Idempotency keys of all tasks that were submitted so far."""
        self.tasks += [lease.task for lease in await self.work.lease("w1", STREAMS, 100, 0)]
        return [task.idempotency_key or "" for task in self.tasks]

    async def state(self, name: str) -> ScheduleState:
        body = await self.events.snapshot(SCHEDULES_SNAPSHOT)
        assert body is not None
        return msgspec.json.decode(body, type=SchedulesSnapshot).schedules[name]

    @contextlib.asynccontextmanager
    async def router(self, name: str, **schedules: ScheduleSettings) -> AsyncIterator[None]:
        ledger = open_ledger(None, self.data_dir)
        await ledger.migrate()
        objects = open_objects(None, self.data_dir)
        intake = Intake(self.queue, ledger, ledger, Packing(objects, 262_144), self.clock, idempotency_ttl_s=86_400)
        router = Router(
            name,
            queue=self.queue,
            upkeep=RedisUpkeep(self.client, self.blocking, OPTIONS),
            events=self.events,
            ledger=ledger,
            intake=intake,
            sweeper=Sweeper(objects, ledger, self.clock),
            pools=None,
            settings=self.settings(**schedules),
            clock=self.clock,
        )
        running = asyncio.create_task(router.run())
        try:
            yield
        finally:
            router.stop()
            await asyncio.wait_for(running, 20)
            await ledger.close()


@pytest_asyncio.fixture
async def bench(redis_client: Client, blocking_client: Client, tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(redis_client, blocking_client, tmp_path)
    await open_accounts(RedisUpkeep(redis_client, blocking_client, OPTIONS))
    yield bench
    await bench.work.close()
    await bench.queue.close()


async def test_a_router_submits_each_occurrence_once_and_its_successor_goes_on(bench: Bench) -> None:
    schedule = every("*/10 * * * * *")

    async def so_far(*seconds: str) -> None:
        expected = [f"schedule:ticks:2026-01-01T12:{int(s) // 60:02}:{int(s) % 60:02}Z" for s in seconds]

        async def reached() -> bool:
            return await bench.occurrences() == expected

        await eventually(reached, 15)

    async with contextlib.AsyncExitStack() as terms:
        async with contextlib.AsyncExitStack() as first_term:
            await first_term.enter_async_context(bench.router("first", ticks=schedule))
            await eventually(lambda: bench.events.snapshot(SCHEDULES_SNAPSHOT))
            bench.clock.set("2026-01-01T12:00:40Z")
            await so_far("40")
            await terms.enter_async_context(bench.router("second", ticks=schedule))
            bench.clock.set("2026-01-01T12:00:50.500Z")
            await so_far("40", "50")
        bench.clock.set("2026-01-01T12:01:20Z")
        await so_far("40", "50", "60", "70", "80")
    (task, *_) = bench.tasks
    assert (task.tenant, task.priority, task.labels) == ("default", Priority.LOW, {"team": "a", "schedule": "ticks"})


async def test_a_new_schedule_begins_now_and_then_comes_on_time(bench: Bench) -> None:
    scheduler = bench.scheduler(hourly=every("0 * * * *"))
    assert await scheduler.submit_due() == 1.0
    assert await bench.occurrences() == []
    bench.clock.set("2026-01-01T12:59:59.750Z")
    assert await scheduler.submit_due() == 0.25
    bench.clock.set("2026-01-01T13:00:00Z")
    await scheduler.submit_due()
    await scheduler.submit_due()
    assert await bench.occurrences() == ["schedule:hourly:2026-01-01T13:00:00Z"]


@pytest.mark.parametrize(("catch_up", "expected"), [(0, []), (1, ["16"]), (3, ["14", "15", "16"])])
async def test_missed_time_is_made_up_for_within_bounds(bench: Bench, catch_up: int, expected: list[str]) -> None:
    schedule = every("0 * * * *", catch_up=catch_up)
    await bench.scheduler(hourly=schedule).submit_due()
    bench.clock.set("2026-01-01T16:30:00Z")
    successor = bench.scheduler(hourly=schedule)
    await successor.submit_due()
    await successor.submit_due()
    assert await bench.occurrences() == [f"schedule:hourly:2026-01-01T{hour}:00:00Z" for hour in expected]


async def test_a_leader_that_died_before_it_wrote_down_what_it_did(bench: Bench) -> None:
    schedule = every("0 * * * *")
    leader = bench.scheduler(hourly=schedule)
    await leader.submit_due()
    before = await bench.events.snapshot(SCHEDULES_SNAPSHOT)
    assert before is not None
    bench.clock.set("2026-01-01T13:00:01Z")
    await leader.submit_due()
    (key,) = await bench.occurrences()
    await bench.events.put_snapshot(SCHEDULES_SNAPSHOT, before)
    bench.clock.set("2026-01-01T13:00:09Z")
    await bench.scheduler(hourly=schedule).submit_due()
    assert await bench.occurrences() == [key]
    assert (await bench.state("hourly")).last_task_id == bench.tasks[0].id


async def test_two_that_both_believe_they_lead(bench: Bench) -> None:
    schedule = every("* * * * *")
    leaders = [bench.scheduler(minutely=schedule) for _ in range(2)]
    for leader in leaders:
        await leader.submit_due()
    for minute in range(1, 6):
        bench.clock.set(f"2026-01-01T12:0{minute}:00Z")
        await asyncio.gather(*(leader.submit_due() for leader in leaders))
    assert await bench.occurrences() == [f"schedule:minutely:2026-01-01T12:0{minute}:00Z" for minute in range(1, 6)]


async def test_what_was_changed_or_switched_off_meanwhile_is_not_missed(bench: Bench) -> None:
    await bench.scheduler(job=every("0 14 * * *")).submit_due()
    bench.clock.set("2026-01-02T12:00:00Z")
    await bench.scheduler(job=every("0 9 * * *")).submit_due()
    assert await bench.occurrences() == []
    bench.clock.set("2026-01-03T12:00:00Z")
    await bench.scheduler(job=every("0 9 * * *", enabled=False)).submit_due()
    await bench.scheduler(job=every("0 9 * * *")).submit_due()
    assert await bench.occurrences() == []
    bench.clock.set("2026-01-04T09:00:00Z")
    await bench.scheduler(job=every("0 9 * * *")).submit_due()
    assert await bench.occurrences() == ["schedule:job:2026-01-04T09:00:00Z"]


async def test_a_task_changed_between_a_crash_and_its_repetition_stays_as_it_was(bench: Bench) -> None:
    leader = bench.scheduler(job=every("* * * * *"))
    await leader.submit_due()
    before = await bench.events.snapshot(SCHEDULES_SNAPSHOT) or b""
    bench.clock.set("2026-01-01T12:01:00Z")
    await leader.submit_due()
    await bench.events.put_snapshot(SCHEDULES_SNAPSHOT, before)
    changed = msgspec.structs.replace(LIGHT, payload={"prompt": "another"})
    successor = bench.scheduler(job=every("* * * * *", task=changed))
    await successor.submit_due()
    bench.clock.set("2026-01-01T12:02:00Z")
    await successor.submit_due()
    assert len(await bench.occurrences()) == 2
    assert [task.payload["prompt"] for task in bench.tasks] == ["report", "another"]


async def test_a_refusal_is_told_and_does_not_hold_up_the_next(bench: Bench) -> None:
    dear = msgspec.structs.replace(LIGHT, budget=msgspec.structs.replace(LIGHT.budget, max_usd=0.4))
    scheduler = bench.scheduler(dear=every("* * * * *", task=dear, tenant="broke"), other=every("* * * * *"))
    await scheduler.submit_due()
    for minute in (1, 2):
        bench.clock.set(f"2026-01-01T12:0{minute}:00Z")
        await scheduler.submit_due()
    assert [key.split(":")[1] for key in await bench.occurrences()].count("dear") == 1
    state = await bench.state("dear")
    assert state.last_error is not None
    assert state.last_error.code == "budget_exceeded"
    assert (await bench.state("other")).last_error is None


async def test_a_record_made_while_the_clock_was_wrong_does_not_silence_a_schedule(bench: Bench) -> None:
    bench.clock.set("2036-01-01T00:00:00Z")
    await bench.scheduler(job=every("* * * * *")).submit_due()
    bench.clock.set("2026-01-01T12:00:30Z")
    scheduler = bench.scheduler(job=every("* * * * *"))
    await scheduler.submit_due()
    bench.clock.set("2026-01-01T12:01:00Z")
    await scheduler.submit_due()
    assert await bench.occurrences() == ["schedule:job:2026-01-01T12:01:00Z"]


async def test_an_occurrence_is_kept_until_the_queue_is_there_again(own_redis: RedisServer, tmp_path: Path) -> None:
    client, blocking = connect(own_redis.url), connect(own_redis.url, reply_timeout_s=70)
    bench = Bench(client, blocking, tmp_path)
    scheduler = bench.scheduler(job=every("* * * * *"))
    await scheduler.submit_due()
    await own_redis.stop()
    bench.clock.set("2026-01-01T12:01:00Z")
    with pytest.raises(Unavailable):
        await scheduler.submit_due()
    await own_redis.start()
    bench.clock.set("2026-01-01T12:01:20Z")
    await scheduler.submit_due()
    assert await bench.occurrences() == ["schedule:job:2026-01-01T12:01:00Z"]
    await bench.work.close()
    await client.aclose()
    await blocking.aclose()
