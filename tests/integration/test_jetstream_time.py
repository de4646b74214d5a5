"""Workers only estimate the server's time: what they write must not depend on how well they do."""

from __future__ import annotations

from pathlib import Path

from sophia.nouns.task import AttemptOutcome
from sophia.queue.base import Settlement
from sophia.queue.jetstream import Bus, JetStreamOptions, JetStreamTaskQueue, JetStreamWorkQueue
from sophia.store.sql import open_ledger
from tests.support.jetstream_bench import MovedClock
from tests.support.tasks import make_task

OPTIONS = JetStreamOptions(streams=("light",), lease_s=30)


async def test_the_ledger_takes_up_what_a_worker_did_whose_time_is_behind(bus: Bus, tmp_path: Path) -> None:
    behind = MovedClock(bus)
    behind.advance(-5_000)
    tasks, work = JetStreamTaskQueue(bus, OPTIONS), JetStreamWorkQueue(bus, OPTIONS, behind)
    task = make_task()
    ledger = open_ledger(None, tmp_path)
    await ledger.migrate()
    versions = []

    async def take_up() -> None:
        (record,) = await tasks.get([task.id])
        assert record is not None
        await ledger.record([record])
        assert await ledger.task(task.id) == record
        versions.append((record.updated_at_ms, record.state))

    await tasks.submit([task])
    await take_up()
    (lease,) = await work.lease("w", ["light"], 1, 0)
    await take_up()
    assert await work.settle([Settlement(lease=lease, outcome=AttemptOutcome.SUCCEEDED, result="ok")]) == [True]
    await take_up()
    assert [state for _, state in versions] == ["queued", "running", "succeeded"]
    assert versions == sorted(set(versions))
    await work.close()
    await tasks.close()
    await ledger.close()
