"""The pool manager over a real queue, a real ledger and real worker processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3

import pytest_asyncio

from sophia.nouns.errors import Unavailable
from sophia.nouns.event import EventKind
from sophia.nouns.pool import InstanceState
from sophia.nouns.task import TaskState
from sophia.providers.base import LaunchRequest, Machine
from sophia.providers.local import LocalProvider
from tests.support.child_processes import is_alive
from tests.support.pool_bench import PoolBench, pool_spec
from tests.support.waiting import eventually

BOOT_S = 30.0
"""A worker process on a busy machine."""


@pytest_asyncio.fixture
async def bench(tmp_path, redis_url):
    bench = PoolBench(tmp_path, redis_url)
    await bench.ledger.migrate()
    yield bench
    await bench.close()


async def succeeded(bench, task) -> bool:
    (record,) = await bench.tasks.get([task.id])
    return record.state is TaskState.SUCCEEDED


async def holding(bench, pool, reason) -> bool:
    status = await bench.status(pool)
    return status is not None and reason in status.reason


async def test_a_waiting_task_wakes_a_pool_at_zero_and_the_pool_goes_back_to_zero(bench):
    bench.start(bench.manager(cpu=pool_spec()))
    await eventually(lambda: bench.status("cpu"))
    task = await bench.submit(hold_s=0.5)
    await eventually(lambda: succeeded(bench, task), BOOT_S)
    (gone,) = await eventually(lambda: bench.instances("cpu", "terminated"), BOOT_S)
    assert gone.reason.startswith("idle for")
    assert gone.ready_at_ms is not None
    assert await bench.local_provider().machines() == []
    told = [event for event in await bench.published() if event.kind is EventKind.INSTANCE_CHANGED]
    states = [event.data["state"] for event in told]
    assert list(dict.fromkeys(states)) == ["requested", "booting", "ready", "working", "draining", "terminated"]
    assert {event.subject for event in told} == {f"cpu/{gone.id}"}
    assert told[0].data["reason"].startswith("1 waiting and 0 running need 1")
    (recorded,) = await bench.ledger.instances(live_only=False)
    assert (recorded.id, recorded.state) == (gone.id, InstanceState.TERMINATED)


async def test_a_quiet_pool_is_woken_by_the_task_itself(bench):
    bench.start(bench.manager(cpu=pool_spec()))
    await eventually(lambda: bench.status("cpu"))
    # Two passes after the first snapshot it listens; from then on only an event or five seconds wake it.
    await eventually(lambda: blocked_clients(bench))
    task = await bench.submit()

    async def requested() -> list[int]:
        return [e.at_ms for e in await bench.published() if e.kind is EventKind.INSTANCE_CHANGED]

    moments = await eventually(requested)
    assert moments[0] - task.submitted_at_ms < 1_000


async def blocked_clients(bench) -> int:
    return int((await bench.client.info("clients"))["blocked_clients"])


async def test_a_next_manager_takes_over_what_runs_and_replaces_what_dies(bench):
    spec = pool_spec(min=1, max=1)
    bench.start(bench.manager(cpu=spec))
    (first,) = await eventually(lambda: bench.instances("cpu", "ready"), BOOT_S)
    await bench.stop()
    assert is_alive(bench.pid(first.id))
    bench.start(bench.manager(cpu=spec))
    task = await bench.submit(hold_s=0.2)
    await eventually(lambda: succeeded(bench, task))
    os.kill(bench.pid(first.id), signal.SIGKILL)
    (gone,) = await eventually(lambda: bench.instances("cpu", "terminated"), BOOT_S)
    assert gone.id == first.id
    assert gone.reason == "gone while ready: no longer listed by its provider"
    (second,) = await eventually(lambda: bench.instances("cpu", "ready"), BOOT_S)
    assert second.id != first.id


async def test_a_machine_without_a_record_is_adopted_and_one_without_a_pool_is_ended(bench):
    provider = bench.local_provider()
    spec = pool_spec(min=1, max=1)
    offer = (await provider.offers(spec))[0]
    await provider.launch(LaunchRequest(instance_id="cpu-lost", pool="cpu", spec=spec, offer=offer))
    await provider.launch(LaunchRequest(instance_id="old-1", pool="old", spec=spec, offer=offer))
    bench.start(bench.manager(cpu=spec))
    (adopted,) = await eventually(lambda: bench.instances("cpu", "ready"), BOOT_S)
    assert adopted.id == "cpu-lost"

    async def only_the_adopted() -> bool:
        return [machine.name for machine in await provider.machines()] == ["cpu-lost"]

    await eventually(only_the_adopted)
    assert [one.id for one in await bench.ledger.instances(live_only=True)] == ["cpu-lost"]


class LostReplies(LocalProvider):
    """Machines are started, and the answers lost on the way."""

    async def launch(self, request: LaunchRequest) -> Machine:
        await super().launch(request)
        raise Unavailable("the answer was lost")


async def test_a_launch_whose_reply_is_lost_is_found_and_not_repeated(bench):
    bench.provider = bench.local_provider(LostReplies)
    bench.start(bench.manager(cpu=pool_spec(min=1)))
    await eventually(lambda: bench.instances("cpu", "ready"), BOOT_S)
    assert len(await bench.provider.machines()) == 1
    assert len(await bench.ledger.instances(live_only=False)) == 1


async def test_nothing_is_launched_without_its_intent_on_record(bench, tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.sqlite3")) as database:
        database.execute(
            "CREATE TRIGGER full BEFORE INSERT ON ledger_instances BEGIN SELECT RAISE(ABORT, 'no more rows'); END"
        )
    bench.start(bench.manager(cpu=pool_spec(min=1)))
    await eventually(lambda: holding(bench, "cpu", "cannot launch"))
    await bench.stop()
    assert await bench.provider.machines() == []


async def test_workers_that_die_at_start_are_not_launched_in_a_tight_loop(bench):
    bench.mode = "crash"
    bench.start(bench.manager(cpu=pool_spec(min=1)))
    await eventually(lambda: holding(bench, "cpu", "launches pause, failed 2 times in a row"), BOOT_S)
    status = await bench.status("cpu")
    assert "was gone before it was ready" in status.reason
    assert len(status.instances) <= 3


async def test_a_worker_that_never_reports_is_ended_when_its_boot_takes_too_long(bench):
    bench.mode = "silent"
    bench.start(bench.manager(cpu=pool_spec(min=1, boot_timeout_s=1.0)))
    (gone, *_) = await eventually(lambda: bench.instances("cpu", "terminated"), BOOT_S)
    assert gone.reason.startswith("terminated: booting for")
    assert "longer than the 1 s allowed" in gone.reason


async def test_a_worker_that_does_not_drain_is_ended(bench):
    bench.mode = "stubborn"
    bench.start(bench.manager(cpu=pool_spec(drain_timeout_s=0.5)))
    await bench.submit()
    (gone,) = await eventually(lambda: bench.instances("cpu", "terminated"), BOOT_S)
    assert gone.reason.startswith("terminated: draining for")


async def test_without_the_queue_the_pools_hold_and_workers_live_on(tmp_path, own_redis):
    bench = PoolBench(tmp_path, own_redis.url)
    await bench.ledger.migrate()
    try:
        manager = bench.manager(cpu=pool_spec(min=1, max=1, boot_timeout_s=60.0))
        await eventually(lambda: ticked(manager, bench), BOOT_S)
        (worker,) = await bench.instances("cpu", "ready")
        own_redis.process.kill()
        await own_redis.wait()
        await manager.tick()
        assert len(await bench.provider.machines()) == 1
        await own_redis.start()
        await eventually(lambda: ticked(manager, bench), BOOT_S)
        assert [one.id for one in await bench.instances("cpu", "ready", "booting", "terminated")] == [worker.id]
    finally:
        await bench.close()


async def ticked(manager, bench) -> bool:
    """One pass; whether an instance reports after it."""
    await manager.tick()
    return bool(await bench.instances("cpu", "ready"))


async def test_shutdown_drains_first_and_ends_what_stays(bench):
    manager = bench.manager(cpu=pool_spec(min=1), slow=pool_spec(min=1, streams=("research",)))
    bench.start(manager)
    (worker,) = await eventually(lambda: bench.instances("cpu", "ready"), BOOT_S)
    await eventually(lambda: bench.instances("slow", "ready"), BOOT_S)
    task = await bench.submit(hold_s=1.0)
    await eventually(lambda: bench.instances("cpu", "working"))
    os.kill(bench.pid((await bench.instances("slow", "ready"))[0].id), signal.SIGSTOP)
    await manager.shutdown(3.0)
    assert await succeeded(bench, task)
    assert await bench.provider.machines() == []
    assert await bench.ledger.instances(live_only=True) == []
    assert (await bench.instances("cpu", "terminated"))[0].id == worker.id


async def test_a_manager_can_be_cancelled_and_started_again(bench):
    manager = bench.manager(cpu=pool_spec(min=1, max=1))
    running = asyncio.create_task(manager.run())
    await eventually(lambda: bench.instances("cpu", "ready"), BOOT_S)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await manager.stop()
    bench.start(manager)
    task = await bench.submit()
    await eventually(lambda: succeeded(bench, task))
    assert len(await bench.provider.machines()) == 1
