"""What an idle worker on JetStream costs, and how much of the server's disk tasks take."""

from __future__ import annotations

from sophia.nouns.task import AttemptOutcome
from sophia.queue.base import Settlement, WorkerBeat
from sophia.queue.jetstream import Bus, JetStreamOptions, JetStreamTaskQueue, JetStreamUpkeep, JetStreamWorkQueue, names
from sophia.queue.jetstream.bus import CHECK_EVERY_S
from sophia.queue.jetstream.clock import SYNC_EVERY_S, ServerClock
from sophia.queue.jetstream.work import LOOK_AGAIN_S
from tests.support.tasks import make_task
from tests.support.waiting import eventually

MOST_PER_S = 0.3
BYTES_PER_TASK = 2_600
IDLE = WorkerBeat(worker="w1", pool="cpu-workers", state="ready", busy=0, slots=4, started_at_ms=1)
STREAMS = ("light", "research")


async def test_an_idle_worker_sends_few_messages(bus: Bus) -> None:
    """One report, one look, one question for the time and one for the stream, at the pace the worker has them."""
    clock = ServerClock(bus)
    work = JetStreamWorkQueue(bus, JetStreamOptions(streams=STREAMS), clock)
    assert await work.lease("w1", STREAMS, 4, 0.05) == []
    await work.beat(IDLE)

    sent = bus.client.stats["out_msgs"]

    def since() -> int:
        nonlocal sent
        before, sent = sent, bus.client.stats["out_msgs"]
        return sent - before

    await work.beat(IDLE)
    report = since()
    # It has looked and hears of what comes: waiting again asks nothing.
    assert await work.lease("w1", STREAMS, 4, 0.05) == []
    assert await work.lease("w1", STREAMS, 4, 0.05) == []
    since()
    assert await work.lease("w1", STREAMS, 4, 0.0) == []
    look = since()
    await clock.sync()
    time = since()
    await bus.ensure()
    stream = since()
    per_s = report / IDLE.due_again_in_s + look / LOOK_AGAIN_S + time / SYNC_EVERY_S + stream / CHECK_EVERY_S
    assert 0 < per_s < MOST_PER_S
    await work.close()


async def test_a_waiting_worker_asks_nothing_and_hears_at_once(bus: Bus) -> None:
    options = JetStreamOptions(streams=STREAMS)
    work, tasks = JetStreamWorkQueue(bus, options), JetStreamTaskQueue(bus, options)
    assert await work.lease("w1", STREAMS, 4, 0.05) == []
    sent = bus.client.stats["out_msgs"]
    assert await work.lease("w1", STREAMS, 4, 0.3) == []
    assert bus.client.stats["out_msgs"] - sent <= 1
    task = make_task()
    await tasks.submit([task])
    (lease,) = await work.lease("w1", STREAMS, 4, 5)
    assert lease.task == task
    await work.close()
    await tasks.close()


async def stored(bus: Bus) -> tuple[int, int]:
    state = (await bus.api(f"STREAM.INFO.{names.STREAM}"))["state"]
    return state["messages"], state["bytes"]


async def test_what_tasks_take_of_the_disk_is_given_back(bus: Bus) -> None:
    options = JetStreamOptions(streams=STREAMS, result_ttl_s=0.001)
    work, tasks, upkeep = (
        JetStreamWorkQueue(bus, options),
        JetStreamTaskQueue(bus, options),
        JetStreamUpkeep(bus, options),
    )
    await upkeep.upkeep(100)
    _, bytes_before = await stored(bus)
    many = [make_task(payload={"prompt": "x" * 1000}) for _ in range(200)]
    await tasks.submit(many)
    _, bytes_full = await stored(bus)
    assert (bytes_full - bytes_before) / len(many) < BYTES_PER_TASK
    for _ in range(2):
        leases = await work.lease("w1", ["light"], 100, 5)
        assert len(leases) == 100
        await work.settle([Settlement(lease=one, outcome=AttemptOutcome.SUCCEEDED, result="ok") for one in leases])
    await bus.discards.done()
    while changes := await upkeep.changes(500, 0):
        await upkeep.acknowledge(changes)

    async def given_back() -> bool:
        # Its own passes are five seconds apart.
        upkeep._let_go_at_s = 0.0
        await upkeep.upkeep(1000)
        messages, taken = await stored(bus)
        return messages < 20 and taken < bytes_before + 3_000

    await eventually(given_back, timeout_s=10)
    await work.close()
    await tasks.close()
