"""Crash points of the queue on JetStream: between every two steps the task is where ``docs/jetstream.md`` says."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Iterable

import pytest
import pytest_asyncio

from sophia.embedded.nats_server import NatsServer
from sophia.events.jetstream import JetStreamEventLog
from sophia.nouns.errors import SophiaError, Unavailable
from sophia.nouns.event import EventKind
from sophia.nouns.task import AttemptOutcome, Task, TaskState
from sophia.queue.base import Lease, Settlement
from sophia.queue.jetstream import (
    Bus,
    JetStreamOptions,
    JetStreamTaskQueue,
    JetStreamUpkeep,
    JetStreamWorkQueue,
    close_bus,
    names,
    open_bus,
    steps,
)
from sophia.queue.jetstream.committer import Committer
from sophia.queue.jetstream.discards import Discards
from sophia.queue.jetstream.messages import Put
from sophia.queue.jetstream.picking import UNRIPE_MS
from sophia.queue.jetstream.steps import Step
from tests.support.jetstream_bench import MovedClock
from tests.support.tasks import make_task
from tests.support.waiting import eventually

OPTIONS = JetStreamOptions(streams=("light",), lease_s=0.3)


class Crash(Exception):
    """The process ends here."""


class DyingBus(Bus):
    """Does not live to see the deletion of void index entries."""

    def __init__(self, bus: Bus) -> None:
        self.__dict__.update(bus.__dict__)
        self.discards = NoDiscards(self.delete)


class NoDiscards(Discards):
    def add(self, seqs: Iterable[int]) -> None:
        if list(seqs):
            raise Crash


class Side:
    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.clock = MovedClock(bus)
        self.tasks = JetStreamTaskQueue(bus, OPTIONS, self.clock)
        self.work = JetStreamWorkQueue(bus, OPTIONS, self.clock)
        self.upkeep = JetStreamUpkeep(bus, OPTIONS, self.clock)
        self.events = JetStreamEventLog(bus)

    async def lease(self, count: int = 10) -> list[Lease]:
        return await self.work.lease("w1", ["light"], count, 0)

    async def state(self, task: Task) -> TaskState | None:
        (record,) = await self.tasks.get([task.id])
        return None if record is None else record.state

    async def index(self) -> list[str]:
        """Kinds of index entries there are."""
        await self.bus.discards.done()
        patterns = [names.waiting_in(), names.leases_in(), names.due_in(), names.dead_in()]
        found = await self.bus.newest(patterns)
        return sorted(".".join(subject.split(".")[1:3]) for subject in found)

    async def kinds(self, task: Task) -> list[str]:
        return [event.kind.value.removeprefix("task.") for event in await self.events.task_log(task.id, 0)]


@pytest_asyncio.fixture
async def alive(bus: Bus) -> AsyncIterator[Side]:
    side = Side(bus)
    yield side
    await side.work.close()
    await side.tasks.close()


@pytest_asyncio.fixture
async def dying(bus: Bus) -> Side:
    return Side(DyingBus(bus))


def done(lease: Lease) -> Settlement:
    return Settlement(lease=lease, outcome=AttemptOutcome.SUCCEEDED, result="ok")


async def store_without_the_record(bus: Bus, step: Step) -> None:
    """What a server may have kept of a batch that it was killed in."""
    for put in step.messages()[:-1]:
        await bus.write([Put(put.subject, put.data)])


async def test_a_worker_that_dies_before_it_commits_has_changed_nothing(alive: Side, bus: Bus) -> None:
    task = make_task()
    await alive.tasks.submit([task])
    (known,) = (await Committer(bus).known([task.id])).values()
    messages = steps.begin(known, "dead", "", 0, 300, 1).messages()
    for number, put in enumerate(messages[:-1], 1):
        headers = {**put.headers(), "Nats-Batch-Id": "cut", "Nats-Batch-Sequence": str(number)}
        await bus.client.publish(put.subject, put.data, headers=headers)
    assert await alive.state(task) is TaskState.QUEUED
    (lease,) = await alive.lease()
    assert (lease.task, lease.attempt) == (task, 1)


async def test_a_worker_that_dies_right_after_it_has_leased_loses_the_lease_only(alive: Side, dying: Side) -> None:
    task = make_task()
    await alive.tasks.submit([task])
    with pytest.raises(Crash):
        await dying.lease()
    assert await alive.state(task) is TaskState.RUNNING
    assert await alive.index() == ["k.l", "n.q"]
    assert await alive.lease() == []
    alive.clock.advance(UNRIPE_MS + 1_000)
    assert await alive.lease() == []
    assert await alive.index() == ["k.l"]
    assert (await alive.upkeep.upkeep(10)).reclaimed == 1
    (lease,) = await alive.lease()
    assert lease.attempt == 2
    assert await alive.work.settle([done(lease)]) == [True]
    assert await alive.index() == []
    assert await alive.kinds(task) == ["queued", "running", "retrying", "running", "succeeded"]


async def test_a_worker_that_dies_right_after_it_has_settled_has_settled(alive: Side, dying: Side) -> None:
    task = make_task()
    await alive.tasks.submit([task])
    (lease,) = await alive.lease()
    with pytest.raises(Crash):
        await dying.work.settle([done(lease)])
    assert await alive.state(task) is TaskState.SUCCEEDED
    assert await alive.work.settle([done(lease)]) == [True]
    alive.clock.advance(UNRIPE_MS + 1_000)
    report = await alive.upkeep.upkeep(10)
    assert (report.reclaimed, report.dead) == (0, 0)
    assert await alive.index() == []
    assert await alive.kinds(task) == ["queued", "running", "succeeded"]


async def test_a_router_that_dies_right_after_it_has_promoted_has_promoted(alive: Side, dying: Side) -> None:
    now_ms = await alive.clock.now_ms()
    task = make_task(run_at_ms=now_ms + 10_000)
    await alive.tasks.submit([task])
    for side in (alive, dying):
        side.clock.advance(11_000)
    with pytest.raises(Crash):
        await dying.upkeep.upkeep(10)
    assert await alive.index() == ["k.d", "n.q"]
    assert (await alive.upkeep.upkeep(10)).promoted == 0
    assert len(await alive.lease()) == 1
    assert await alive.kinds(task) == ["scheduled", "queued", "running"]


async def test_a_cancellation_that_dies_half_way_is_final(alive: Side, dying: Side) -> None:
    task = make_task()
    await alive.tasks.submit([task])
    with pytest.raises(Crash):
        await dying.tasks.cancel(task.id, "no")
    assert await alive.state(task) is TaskState.CANCELLED
    alive.clock.advance(UNRIPE_MS + 1_000)
    assert await alive.lease() == []
    assert await alive.index() == []


async def test_part_of_a_submission_is_no_submission(alive: Side, bus: Bus) -> None:
    task = make_task()
    await store_without_the_record(bus, steps.accept(task, await alive.clock.now_ms(), task.tenant, ""))
    assert await alive.state(task) is None
    assert await alive.lease() == []
    # Its client got no answer and tries again.
    await alive.tasks.submit([task])
    (lease,) = await alive.lease()
    assert lease.task == task
    assert await alive.kinds(task) == ["queued", "running"]


async def test_part_of_a_submission_that_nobody_repeats_is_swept_up(alive: Side, bus: Bus) -> None:
    task = make_task()
    await store_without_the_record(bus, steps.accept(task, await alive.clock.now_ms(), task.tenant, ""))
    alive.clock.advance(UNRIPE_MS + 1_000)
    assert await alive.lease() == []
    assert await alive.index() == []


async def test_a_key_whose_task_was_never_stored_can_be_used(alive: Side, bus: Bus) -> None:
    first, second = (make_task(idempotency_key="k", payload={"n": n}) for n in (1, 2))
    await alive.tasks.submit([first])
    await bus.purge(names.record(first.id))
    (receipt,) = await alive.tasks.submit([second])
    assert (receipt.task_id, receipt.duplicate) == (second.id, False)


async def test_part_of_a_settlement_is_no_settlement(alive: Side, bus: Bus) -> None:
    task = make_task()
    await alive.tasks.submit([task])
    (lease,) = await alive.lease()
    (known,) = (await Committer(bus).known([task.id])).values()
    step = steps.settle(known, done(lease), await alive.clock.now_ms(), known.record.events, ())
    await store_without_the_record(bus, step)
    assert await alive.state(task) is TaskState.RUNNING
    assert await alive.work.settle([done(lease)]) == [True]
    assert await alive.state(task) is TaskState.SUCCEEDED


async def test_a_lease_is_not_taken_from_a_worker_that_extends_it_meanwhile(alive: Side, bus: Bus) -> None:
    task = make_task()
    await alive.tasks.submit([task])
    (lease,) = await alive.lease()
    (known,) = (await Committer(bus).known([task.id])).values()
    entry = await bus.last(names.leases_in())
    assert entry is not None
    lost = steps.lose(known, await alive.clock.now_ms(), known.record.events, entry.seq)
    assert [status.held for status in await alive.work.extend([lease])] == [True]
    assert await Committer(bus).each([lost]) == [None]
    assert await alive.work.settle([done(lease)]) == [True]


async def test_a_server_that_has_lost_everything_goes_on_from_nothing(own_nats: NatsServer) -> None:
    bus = await open_bus(own_nats.url)
    side = Side(bus)
    tasks = [make_task() for _ in range(3)]
    await side.tasks.submit(tasks)
    assert len(await side.lease(2)) == 2
    await side.upkeep.acknowledge(await side.upkeep.changes(10, 0))
    cursor = await side.events.head()
    assert own_nats.process is not None
    own_nats.process.kill()
    await own_nats.wait()
    shutil.rmtree(own_nats.data_dir / "jetstream")
    await own_nats.start()
    task = make_task()
    await side.tasks.submit([task])
    assert [lease.task.id for lease in await side.lease()] == [task.id]
    assert await side.tasks.get([tasks[0].id]) == [None]
    assert [change.task_id for change in await side.upkeep.changes(10, 0)] == [task.id]
    page = await side.events.read(cursor, 10, 0)
    assert page.gap
    assert [event.subject for event in page.events] == [task.id] * 2
    await side.work.close()
    await side.tasks.close()
    await close_bus(bus)


async def test_a_stream_that_was_deleted_is_made_anew(alive: Side, bus: Bus) -> None:
    await alive.tasks.submit([make_task() for _ in range(3)])
    assert len(await alive.lease(2)) == 2
    await bus.api(f"STREAM.DELETE.{names.STREAM}")
    task = make_task()
    await alive.tasks.submit([task])
    assert [lease.task.id for lease in await alive.lease()] == [task.id]


async def test_killing_the_server_again_and_again_loses_nothing_and_commits_once(own_nats: NatsServer) -> None:
    bus, other = await open_bus(own_nats.url), await open_bus(own_nats.url)
    options = JetStreamOptions(streams=("light",), lease_s=2.0)
    producer, events = JetStreamTaskQueue(bus, options), JetStreamEventLog(bus)
    upkeep, workers = JetStreamUpkeep(other, options), [JetStreamWorkQueue(b, options) for b in (bus, other)]
    tasks = [make_task(tenant=f"t{n % 3}") for n in range(120)]
    accepted: set[str] = set()
    applied: list[str] = []
    stop = asyncio.Event()

    async def produce() -> None:
        for task in tasks:
            while task.id not in accepted:
                with contextlib.suppress(Unavailable):
                    await producer.submit([task])
                    accepted.add(task.id)

    async def work(queue: JetStreamWorkQueue, name: str) -> None:
        while not stop.is_set():
            with contextlib.suppress(SophiaError):
                leases = await queue.lease(name, ["light"], 4, 0.2)
                for lease, ok in zip(leases, await queue.settle([done(lease) for lease in leases]), strict=True):
                    if ok:
                        applied.append(lease.task.id)

    async def keep_up() -> None:
        while not stop.is_set():
            with contextlib.suppress(SophiaError):
                await upkeep.upkeep(100)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.2)

    async def all_succeeded() -> bool:
        with contextlib.suppress(SophiaError):
            records = await producer.get([task.id for task in tasks])
            return all(record is not None and record.state is TaskState.SUCCEEDED for record in records)
        return False

    async with asyncio.TaskGroup() as group:
        producing = group.create_task(produce())
        for n, queue in enumerate(workers):
            group.create_task(work(queue, f"w{n}"))
        group.create_task(keep_up())
        for share in (20, 50, 80):
            await eventually(lambda s=share: len(accepted) >= s, timeout_s=30)  # type: ignore[misc]
            assert own_nats.process is not None
            own_nats.process.kill()
            await own_nats.wait()
            await own_nats.start()
        await producing
        await eventually(all_succeeded, timeout_s=60)
        stop.set()
    assert len(applied) == len(set(applied))
    for task in tasks:
        kinds = [event.kind for event in await events.task_log(task.id, 0)]
        assert kinds.count(EventKind.TASK_SUCCEEDED) == 1
        assert kinds[-1] is EventKind.TASK_SUCCEEDED

    async def swept_up() -> bool:
        await upkeep.upkeep(100)
        return all((row.waiting, row.running) == (0, 0) for row in await producer.stats())

    await eventually(swept_up, timeout_s=15)
    for queue in workers:
        await queue.close()
    await producer.close()
    await close_bus(bus)
    await close_bus(other)
