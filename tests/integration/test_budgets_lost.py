"""The queue is lost while a tenant has spent and reserved of its budget: no more is admitted than there was left."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from sophia.embedded.redis_server import RedisServer
from sophia.nouns.budget import Reservation, TenantBudget
from sophia.nouns.clock import SystemClock
from sophia.nouns.errors import BudgetExceeded, Unavailable
from sophia.nouns.task import AttemptOutcome, Durability, Task, TaskState
from sophia.nouns.usage import Usage
from sophia.queue.base import Settlement
from sophia.queue.redis import RedisWorkQueue
from sophia.router.accounts import Bookkeeper
from sophia.router.reconcile import Reconciler
from sophia.settings.model import TenantSettings
from tests.support.lossy_platform import LossyPlatform, lossy_platform
from tests.support.tasks import make_task
from tests.support.waiting import eventually

BUDGET = TenantBudget(tokens_per_day=100, tokens_per_month=1_000)
TENANTS = {"acme": TenantSettings(budget=BUDGET)}


def durable(tokens: int) -> Task:
    return make_task(
        tenant="acme",
        durability=Durability.LEDGER,
        reserved=Reservation(nano_usd=0, tokens=tokens),
        submitted_at_ms=time.time_ns() // 1_000_000,
    )


async def accepted(platform: LossyPlatform, task: Task) -> bool:
    try:
        await platform.intake.submit([task])
    except (BudgetExceeded, Unavailable):
        return False
    return True


async def spend(platform: LossyPlatform, task: Task, *, tokens: int, outcome: AttemptOutcome) -> None:
    work = RedisWorkQueue(platform.client, platform.blocking, platform.options)
    (lease,) = await work.lease("w1", ["light"], 1, 5.0)
    assert lease.task.id == task.id
    usage = Usage(input_tokens=tokens)
    result = 1 if outcome is AttemptOutcome.SUCCEEDED else None
    settlement = Settlement(lease=lease, outcome=outcome, result=result, usage=usage, retry_in_s=3_600)
    assert await work.settle([settlement]) == [True]
    await work.close()


async def test_spent_and_reserved_are_known_again_and_never_overdrawn(own_redis: RedisServer, tmp_path: Path) -> None:
    async with lossy_platform(own_redis, tmp_path, tenants=TENANTS) as platform, platform.router():
        done, waits = durable(40), durable(35)
        await eventually(lambda: accepted(platform, done), 10)
        await spend(platform, done, tokens=20, outcome=AttemptOutcome.SUCCEEDED)
        assert await accepted(platform, waits)
        await spend(platform, waits, tokens=5, outcome=AttemptOutcome.RETRYING)

        async def recorded() -> bool:
            found = [await platform.ledger.task(task.id) for task in (done, waits)]
            return [record and record.state for record in found] == [TaskState.SUCCEEDED, TaskState.RETRYING]

        await eventually(recorded)
        await platform.wipe()
        # 25 are spent and 30 still reserved: there is room for four more of ten, from the first moment on.
        more: list[Task] = []
        tried = 0

        async def submit_some() -> bool:
            nonlocal tried
            batch = [durable(10) for _ in range(3)]
            verdicts = await asyncio.gather(*(accepted(platform, task) for task in batch))
            more.extend(task for task, verdict in zip(batch, verdicts, strict=True) if verdict)
            tried += 1
            restored = (await platform.queue.get([waits.id]))[0] is not None
            return restored and len(more) >= 4

        await eventually(submit_some, 20)
        assert not await accepted(platform, durable(6))
        for task in more:
            await platform.queue.cancel(task.id, "make room")
        assert not await accepted(platform, durable(46))
        assert await accepted(platform, durable(45))
        assert tried > 1
        assert len(more) == 4


async def test_a_ledger_that_does_not_answer_keeps_them_closed(own_redis: RedisServer, tmp_path: Path) -> None:
    async with lossy_platform(own_redis, tmp_path, tenants=TENANTS) as platform:

        class Away:
            async def spent(self, *_: object) -> dict[str, tuple[int, int]]:
                raise Unavailable("the database does not answer")

        reconciler = Reconciler(platform.queue, platform.upkeep, platform.ledger, asyncio.Event())
        bookkeeper = Bookkeeper(platform.upkeep, Away(), reconciler, {"acme": BUDGET}, SystemClock())
        with pytest.raises(Unavailable):
            await bookkeeper.reopen()
        assert not await accepted(platform, durable(1))
        bookkeeper = Bookkeeper(platform.upkeep, platform.ledger, reconciler, {"acme": BUDGET}, SystemClock())
        assert await bookkeeper.reopen()
        assert await bookkeeper.reopen()
        assert await accepted(platform, durable(1))
