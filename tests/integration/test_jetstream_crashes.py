"""Crash points of the queue on JetStream: between every two steps the task is where ``docs/jetstream.md`` says."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterable, Sequence

import pytest
import pytest_asyncio

from sophia.embedded.nats_server import NatsServer
from sophia.events.jetstream import JetStreamEventLog
from sophia.nouns.task import Task, TaskState
from sophia.queue.base import Lease
from sophia.queue.jetstream import (
    Bus,
    JetStreamOptions,
    JetStreamTaskQueue,
    JetStreamUpkeep,
    JetStreamWorkQueue,
    close_bus,
    names,
    open_bus,
    settling,
    steps,
)
from sophia.queue.jetstream.committer import Committer
from sophia.queue.jetstream.discards import Discards
from sophia.queue.jetstream.failures import Trouble
from sophia.queue.jetstream.messages import Put
from sophia.queue.jetstream.picking import UNRIPE_MS
from sophia.queue.jetstream.step import Step
from tests.support.jetstream_bench import MovedClock
from tests.support.nats_survival import done, surviving
from tests.support.tasks import make_task

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


class DeafBus(Bus):
    """Does not hear the answer to the next batch. With ``late``, that reaches the server only after another one was tried."""

    def __init__(self, bus: Bus, *, late: bool = False) -> None:
        self.__dict__.update(bus.__dict__)
        self.is_deaf = True
        self._late = late
        self._held: list[Put] = []

    async def write(self, puts: Sequence[Put]) -> int:
        if self.is_deaf and len(puts) > 1:
            self.is_deaf = False
            if self._late:
                self._held = list(puts)
            else:
                await super().write(puts)
            raise Trouble("no answer")
        held, self._held = self._held, []
        if held:
            await super().write(held)
        return await super().write(puts)


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


@pytest.mark.parametrize("late", [False, True])
async def test_a_lease_whose_answer_was_lost_is_given_and_costs_no_attempt(alive: Side, bus: Bus, late: bool) -> None:
    tasks = [make_task() for _ in range(3)]
    await alive.tasks.submit(tasks)
    deaf = Side(DeafBus(bus, late=late))
    leases = await deaf.lease()
    assert [(lease.task.id, lease.attempt, lease.attempts_counted) for lease in leases] == [
        (task.id, 1, 1) for task in tasks
    ]
    assert [status.held for status in await deaf.work.extend(leases)] == [True] * 3
    assert await deaf.work.settle([done(lease) for lease in leases]) == [True] * 3
    for task in tasks:
        assert await alive.kinds(task) == ["queued", "running", "succeeded"]
    assert await alive.index() == []


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
    step = settling.settle(known, done(lease), await alive.clock.now_ms(), known.record.events, ())
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


async def test_a_router_that_takes_a_new_stream_for_the_old_one_hides_no_change_from_the_ledger(
    alive: Side, nats_server_url: str
) -> None:
    await alive.tasks.submit([make_task() for _ in range(5)])
    of_the_old = await alive.upkeep.changes(100, 0)
    await alive.upkeep.acknowledge(of_the_old)
    other = await open_bus(nats_server_url)
    await other.api(f"STREAM.DELETE.{names.STREAM}")
    await other.ensure()
    tasks = [make_task() for _ in range(10)]
    await Side(other).tasks.submit(tasks)
    some = await alive.upkeep.changes(100, 0)
    assert 0 < len(some) < len(tasks), "those behind the sequence that the old stream had come to"
    await alive.upkeep.acknowledge(some)
    # From here on it knows.
    alive.bus.on_back()
    assert len(await alive.upkeep.changes(100, 0)) == len(tasks)
    await alive.upkeep.acknowledge(of_the_old)
    for upkeep in (alive.upkeep, JetStreamUpkeep(other, OPTIONS)):
        assert {change.task_id for change in await upkeep.changes(100, 0)} == {task.id for task in tasks}
    await close_bus(other)


async def test_killing_the_server_again_and_again_loses_nothing_and_commits_once(own_nats: NatsServer) -> None:
    bus, other = await open_bus(own_nats.url), await open_bus(own_nats.url)
    async with surviving(bus, other, tasks=120, lease_s=2.0) as survival:
        for share in (20, 50, 80):
            await survival.accepted(share)
            assert own_nats.process is not None
            own_nats.process.kill()
            await own_nats.wait()
            await own_nats.start()
    await close_bus(bus)
    await close_bus(other)
