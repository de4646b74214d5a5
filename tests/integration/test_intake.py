"""Acceptance with durability ``ledger``: in both places or in neither, once per idempotency key, whatever fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from sophia.embedded.redis_server import RedisServer
from sophia.intake import Intake
from sophia.nouns.budget import Reservation, TenantBudget
from sophia.nouns.clock import SystemClock
from sophia.nouns.errors import BudgetExceeded, Conflict, Unavailable
from sophia.nouns.task import AttemptOutcome, Durability, Task, TaskState
from sophia.queue.base import Settlement
from sophia.queue.redis import RedisTaskQueue, RedisWorkQueue
from sophia.router.reconcile import IDLE_PASS_EVERY_S, PASS_EVERY_S, Reconciler
from sophia.router.recorder import Recorder
from sophia.store.sql import open_ledger
from tests.support.budget_accounts import open_accounts
from tests.support.lossy_platform import LossyPlatform, lossy_platform
from tests.support.tasks import make_task


@pytest_asyncio.fixture
async def bench(own_redis: RedisServer, tmp_path: Path) -> AsyncIterator[LossyPlatform]:
    async with lossy_platform(own_redis, tmp_path) as platform:
        yield platform


def durable(key: str | None = None, **changes: Any) -> Task:
    return make_task(
        **{"durability": Durability.LEDGER, "idempotency_key": key, "payload": {"prompt": "the same"}, **changes}
    )


def intake_without_ledger(bench: LossyPlatform, tmp_path: Path) -> Intake:
    """Claims go through; recording does not."""
    broken = open_ledger(f"postgresql://sophia@/nowhere?host={tmp_path}", tmp_path)
    return Intake(bench.queue, broken, bench.ledger, bench.packing, SystemClock(), idempotency_ttl_s=60)


def reconciler(bench: LossyPlatform) -> Reconciler:
    return Reconciler(
        bench.queue, bench.upkeep, bench.ledger, Recorder(bench.queue, bench.upkeep, bench.ledger).durable_open
    )


async def in_queue(bench: LossyPlatform, task_id: str) -> bool:
    return (await bench.queue.get([task_id]))[0] is not None


class TestAcceptance:
    async def test_the_ledger_has_it_before_the_caller_knows(self, bench: LossyPlatform) -> None:
        task = durable()
        (receipt,) = await bench.intake.submit([task])
        assert (receipt.task_id, receipt.state, receipt.duplicate) == (task.id, TaskState.QUEUED, False)
        assert await bench.ledger.task(task.id) == (await bench.queue.get([task.id]))[0]

    async def test_of_a_batch_those_that_ask_for_it(self, bench: LossyPlatform) -> None:
        tasks = [durable(), make_task(), durable()]
        await bench.intake.submit(tasks)
        assert [await bench.ledger.task(task.id) is not None for task in tasks] == [True, False, True]
        assert all(await bench.queue.get([task.id for task in tasks]))

    async def test_what_the_queue_refuses_is_nowhere_and_its_key_is_free(self, bench: LossyPlatform) -> None:
        options = msgspec.structs.replace(bench.options, budgets={"acme": TenantBudget(tokens_per_day=100)})
        queue = RedisTaskQueue(bench.client, options)
        await open_accounts(bench.upkeep)
        intake = Intake(queue, bench.ledger, bench.ledger, bench.packing, SystemClock(), idempotency_ttl_s=60)
        dear = durable("k", tenant="acme", reserved=Reservation(nano_usd=0, tokens=101))
        with pytest.raises(BudgetExceeded):
            await intake.submit([dear])
        assert await bench.ledger.task(dear.id) is None
        cheap = durable("k", tenant="acme", payload={"prompt": "less"}, reserved=Reservation(nano_usd=0, tokens=1))
        (receipt,) = await intake.submit([cheap])
        assert (receipt.task_id, receipt.duplicate) == (cheap.id, False)
        await queue.close()

    async def test_while_the_queue_is_away_nothing_is_accepted(self, bench: LossyPlatform) -> None:
        await bench.server.stop()
        task = durable("k")
        with pytest.raises(Unavailable):
            await bench.intake.submit([task])
        assert await bench.ledger.task(task.id) is None
        await bench.server.start()
        again = durable("k")
        (receipt,) = await bench.intake.submit([again])
        # The first try had claimed the key: the second one is that task.
        assert (receipt.task_id, receipt.duplicate) == (task.id, True)
        record = await bench.ledger.task(task.id)
        assert record is not None
        assert not await in_queue(bench, again.id)

    async def test_while_the_ledger_is_away_nothing_is_accepted_and_a_retry_makes_no_second_task(
        self, bench: LossyPlatform, tmp_path: Path
    ) -> None:
        task, again = durable("k"), durable("k")
        with pytest.raises(Unavailable):
            await intake_without_ledger(bench, tmp_path).submit([task])
        assert await bench.ledger.task(task.id) is None
        (receipt,) = await bench.intake.submit([again])
        assert (receipt.task_id, receipt.duplicate) == (task.id, True)
        assert await bench.ledger.task(task.id) is not None


class TestKeys:
    async def test_the_same_request_is_the_same_task_and_another_is_refused(self, bench: LossyPlatform) -> None:
        first = durable("k")
        await bench.intake.submit([first])
        (receipt,) = await bench.intake.submit([durable("k")])
        assert (receipt.task_id, receipt.duplicate) == (first.id, True)
        for other in (
            durable("k", payload={"prompt": "another"}),
            make_task(idempotency_key="k", payload=first.payload),
        ):
            with pytest.raises(Conflict):
                await bench.intake.submit([other])

    async def test_many_at_once_make_one_task(self, bench: LossyPlatform) -> None:
        receipts = await asyncio.gather(*(bench.intake.submit([durable("k")]) for _ in range(20)))
        assert len({receipt.task_id for (receipt,) in receipts}) == 1
        assert sum(not receipt.duplicate for (receipt,) in receipts) == 1
        assert len(await bench.work_lease(100)) == 1

    async def test_a_key_outlives_the_queue(self, bench: LossyPlatform) -> None:
        first = durable("k")
        await bench.intake.submit([first])
        await bench.wipe()
        (receipt,) = await bench.intake.submit([durable("k")])
        assert (receipt.task_id, receipt.state, receipt.duplicate) == (first.id, TaskState.QUEUED, True)
        # Queueing it again is the router's, who knows its history.
        assert not await in_queue(bench, first.id)
        with pytest.raises(Conflict):
            await bench.intake.submit([durable("k", payload={"prompt": "another"})])
        await reconciler(bench).reconcile_some()
        assert await in_queue(bench, first.id)

    async def test_a_repeated_batch_is_told_apart_task_by_task(self, bench: LossyPlatform) -> None:
        first = [durable("a"), durable("b")]
        await bench.intake.submit(first)
        second = [durable("b"), durable("c"), durable("a")]
        receipts = await bench.intake.submit(second)
        assert [receipt.task_id for receipt in receipts] == [first[1].id, second[1].id, first[0].id]
        assert [receipt.duplicate for receipt in receipts] == [True, False, True]
        assert len(await bench.work_lease(100)) == 3


class TestReconciliation:
    async def test_only_what_is_lost_and_unfinished_is_queued_again(self, bench: LossyPlatform) -> None:
        done, lost, weak = durable(), durable(), make_task()
        await bench.intake.submit([done, lost, weak])
        work = RedisWorkQueue(bench.client, bench.blocking, bench.options)
        leases = {lease.task.id: lease for lease in await work.lease("w", ["light"], 10, 0)}
        settlement = Settlement(lease=leases[done.id], outcome=AttemptOutcome.SUCCEEDED, result="ok")
        assert await work.settle([settlement]) == [True]
        recorder = Recorder(bench.queue, bench.upkeep, bench.ledger)
        await recorder.record_some(1.0)
        assert await reconciler(bench).reconcile_some() == PASS_EVERY_S
        await bench.wipe()
        assert await reconciler(bench).reconcile_some() == 0.0
        assert [await in_queue(bench, task.id) for task in (done, lost, weak)] == [False, True, False]
        await work.close()

    async def test_a_cancellation_that_was_under_way_is_not_forgotten(self, bench: LossyPlatform) -> None:
        task = durable()
        await bench.intake.submit([task])
        await bench.work_lease(1)
        await bench.queue.cancel(task.id, "changed my mind")
        await Recorder(bench.queue, bench.upkeep, bench.ledger).record_some(1.0)
        await bench.wipe()
        await reconciler(bench).reconcile_some()
        (record,) = await bench.queue.get([task.id])
        assert record is not None
        assert record.state is TaskState.CANCELLED

    async def test_it_rests_while_there_is_nothing_to_watch_and_wakes_when_there_is(self, bench: LossyPlatform) -> None:
        recorder = Recorder(bench.queue, bench.upkeep, bench.ledger)
        watcher = Reconciler(bench.queue, bench.upkeep, bench.ledger, recorder.durable_open)
        await bench.intake.submit([make_task()])
        await recorder.record_some(1.0)
        assert await watcher.reconcile_some() == IDLE_PASS_EVERY_S
        await bench.intake.submit([durable()])
        await recorder.record_some(1.0)
        assert recorder.durable_open.is_set()
        assert await watcher.reconcile_some() == PASS_EVERY_S

    async def test_more_than_one_page_and_more_than_one_pass(self, bench: LossyPlatform) -> None:
        tasks = [durable() for _ in range(1_150)]
        for start in range(0, len(tasks), 230):
            await bench.intake.submit(tasks[start : start + 230])
        await bench.wipe()
        watcher = reconciler(bench)
        passes = 0
        while await watcher.reconcile_some() == 0.0:
            passes += 1
        assert passes == 2
        found = [
            record
            for start in range(0, len(tasks), 500)
            for record in await bench.queue.get([t.id for t in tasks[start : start + 500]])
        ]
        assert all(found)
