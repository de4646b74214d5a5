"""Tenant budgets and caps on what runs at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from sophia.nouns.budget import Budget, Reservation, TenantBudget
from sophia.nouns.errors import BudgetExceeded, ErrorClass, ErrorInfo
from sophia.nouns.task import AttemptOutcome, Task
from sophia.nouns.usage import NANO_USD_PER_USD, Usage
from sophia.queue.base import Lease, Settlement
from tests.support.queue_engines import ENGINES, Engine
from tests.support.servers import chosen_server
from tests.support.tasks import make_task
from tests.support.waiting import eventually

DIME = NANO_USD_PER_USD // 10
OPTIONS: dict[str, Any] = {
    "lease_s": 0.3,
    "max_running": {"tenant:small": 2, "type:web_research": 1},
    "budgets": {
        "acme": TenantBudget(usd_per_day=1.0, usd_per_month=1.5),
        "words": TenantBudget(tokens_per_day=1_000),
    },
}


@pytest.fixture(params=["redis", "redis@6.2", "redis-4-partitions@cluster", "jetstream"])
def place(request: pytest.FixtureRequest) -> tuple[str, str]:
    return chosen_server(request)


@pytest_asyncio.fixture
async def engine(place: tuple[str, str], nats_server_url: str) -> AsyncIterator[Engine]:
    name, redis_url = place
    async with ENGINES[name](redis_url, nats_server_url, **OPTIONS) as made:
        yield made


def costly(nano_usd: int = DIME, **changes: object) -> Task:
    budget = Budget(max_usd=nano_usd / NANO_USD_PER_USD)
    return make_task(tenant="acme", budget=budget, reserved=Reservation(nano_usd=nano_usd, tokens=0), **changes)


async def admitted(engine: Engine, *tasks: Task) -> bool:
    try:
        await engine.tasks.submit(tasks)
    except BudgetExceeded:
        return False
    return True


async def lease_all(engine: Engine, streams: tuple[str, ...] = ("light",)) -> list[Lease]:
    leases: list[Lease] = []
    while more := await engine.work.lease("w1", streams, 50, 0):
        leases += more
    return leases


async def test_a_thousand_submissions_at_once_against_a_budget_for_ten_admit_ten(engine: Engine) -> None:
    tasks = [costly() for _ in range(1_000)]
    verdicts = await asyncio.gather(*(admitted(engine, task) for task in tasks))
    assert sum(verdicts) == 10
    assert len(await lease_all(engine)) == 10


async def test_a_refusal_says_which_budget_what_is_left_and_when_it_resets(engine: Engine) -> None:
    assert await admitted(engine, costly(8 * DIME))
    with pytest.raises(BudgetExceeded) as caught:
        await engine.tasks.submit([costly(3 * DIME)])
    error = caught.value
    assert error.field == "tenants.acme.budget.usd_per_day"
    assert "$0.8 are reserved" in error.message
    assert "$0.2 are left" in error.message
    assert "resets at" in error.message
    assert error.retry_after_s is not None
    assert 0 < error.retry_after_s <= 86_400


async def test_what_was_not_used_is_given_back_and_what_was_used_stays_spent(engine: Engine) -> None:
    assert await admitted(engine, *(costly() for _ in range(10)))
    assert not await admitted(engine, costly())
    leases = await lease_all(engine)
    used = Usage(cost_nano_usd=DIME // 2)
    await engine.work.settle(
        [Settlement(lease=lease, outcome=AttemptOutcome.SUCCEEDED, result=1, usage=used) for lease in leases]
    )
    assert await admitted(engine, *(costly() for _ in range(5)))
    assert not await admitted(engine, costly(1))


async def test_failures_and_cancellations_give_everything_back(engine: Engine) -> None:
    tasks = [costly() for _ in range(10)]
    assert await admitted(engine, *tasks)
    for task in tasks[5:]:
        await engine.tasks.cancel(task.id, "not now")
    leases = await lease_all(engine)
    error = ErrorInfo(code="x", message="x")
    await engine.work.settle([Settlement(lease=lease, outcome=AttemptOutcome.FAILED, error=error) for lease in leases])
    assert await admitted(engine, *(costly() for _ in range(10)))


async def test_a_retry_keeps_the_rest_of_its_reservation(engine: Engine) -> None:
    assert await admitted(engine, costly(10 * DIME, max_attempts=5))
    (lease,) = await lease_all(engine)
    error = ErrorInfo(code="x", message="x", error_class=ErrorClass.RETRYABLE)
    usage = Usage(cost_nano_usd=DIME)
    await engine.work.settle(
        [Settlement(lease=lease, outcome=AttemptOutcome.RETRYING, error=error, usage=usage, retry_in_s=0.05)]
    )
    assert not await admitted(engine, costly(1))

    async def again() -> list[Lease]:
        await engine.upkeep.upkeep(10)
        return await engine.work.lease("w1", ["light"], 1, 0)

    (second,) = await eventually(again)
    await engine.work.settle([Settlement(lease=second, outcome=AttemptOutcome.SUCCEEDED, result=1, usage=usage)])
    assert await admitted(engine, costly(8 * DIME))
    assert not await admitted(engine, costly(1))


async def test_the_month_holds_over_days(engine: Engine) -> None:
    yesterday = int(time.time() * 1000) - 86_400_000
    this_month = time.gmtime(yesterday / 1000).tm_mon == time.gmtime().tm_mon
    submitted_at_ms = yesterday if this_month else int(time.time() * 1000) + 86_400_000
    assert await admitted(engine, costly(10 * DIME, submitted_at_ms=submitted_at_ms))
    assert await admitted(engine, costly(5 * DIME))
    with pytest.raises(BudgetExceeded, match="usd_per_month"):
        await engine.tasks.submit([costly(1)])


async def test_a_batch_is_admitted_whole_or_not_at_all(engine: Engine) -> None:
    assert not await admitted(engine, *(costly() for _ in range(11)))
    assert await admitted(engine, *(costly() for _ in range(10)))


async def test_the_same_submission_again_reserves_once(engine: Engine) -> None:
    task = costly(10 * DIME, idempotency_key="k", payload={"prompt": "p"})
    assert await admitted(engine, task)
    assert await admitted(engine, task)
    assert await admitted(engine, costly(10 * DIME, idempotency_key="k", payload={"prompt": "p"}))


async def test_tokens_are_capped_too_and_others_are_not_held_up(engine: Engine) -> None:
    def wordy(tokens: int) -> Task:
        return make_task(tenant="words", reserved=Reservation(nano_usd=0, tokens=tokens))

    assert await admitted(engine, wordy(1_000))
    with pytest.raises(BudgetExceeded, match="tokens_per_day"):
        await engine.tasks.submit([wordy(1)])
    assert await admitted(engine, make_task(tenant="free"))


async def test_a_tenants_cap_on_running_tasks_holds_and_is_filled_again(engine: Engine) -> None:
    await engine.tasks.submit([make_task(tenant="small") for _ in range(6)])
    await engine.tasks.submit([make_task(tenant="other") for _ in range(3)])
    leases = await lease_all(engine)
    assert [lease.task.tenant for lease in leases].count("small") == 2
    assert [lease.task.tenant for lease in leases].count("other") == 3
    small = next(lease for lease in leases if lease.task.tenant == "small")
    await engine.work.settle([Settlement(lease=small, outcome=AttemptOutcome.SUCCEEDED, result=1)])
    assert [lease.task.tenant for lease in await lease_all(engine)] == ["small"]


async def test_a_types_cap_does_not_hold_up_the_tenants_other_types(engine: Engine) -> None:
    research = [make_task(type="web_research") for _ in range(4)]
    await engine.tasks.submit(research)
    await engine.tasks.submit([make_task() for _ in range(4)])
    leases = await lease_all(engine)
    assert sorted(lease.task.type for lease in leases) == ["light"] * 4 + ["web_research"]
    await engine.tasks.cancel(research[3].id, "enough")
    running = next(lease for lease in leases if lease.task.type == "web_research")
    await engine.work.settle([Settlement(lease=running, outcome=AttemptOutcome.HANDED_BACK)])
    again = await lease_all(engine)
    assert [lease.task.type for lease in again] == ["web_research"]
    for _ in range(2):
        await engine.work.settle([Settlement(lease=again[0], outcome=AttemptOutcome.SUCCEEDED, result=1)])
        again = await lease_all(engine)
        assert len(again) == 1
    await engine.work.settle([Settlement(lease=again[0], outcome=AttemptOutcome.SUCCEEDED, result=1)])
    assert await lease_all(engine) == []
    assert sum(row.waiting or 0 for row in await engine.tasks.stats()) == 0


async def bury(engine: Engine, *tasks: Task, usage: Usage | None = None) -> None:
    """They were admitted; they run once, and are given up."""
    leases = await lease_all(engine)
    assert {lease.task.id for lease in leases} == {task.id for task in tasks}
    error = ErrorInfo(code="x", message="x")
    settled = [
        Settlement(lease=lease, outcome=AttemptOutcome.DEAD, error=error, usage=usage or Usage()) for lease in leases
    ]
    assert all(await engine.work.settle(settled))


async def test_a_dead_letter_that_is_queued_again_reserves_again(engine: Engine) -> None:
    task = costly(8 * DIME)
    assert await admitted(engine, task)
    await bury(engine, task, usage=Usage(cost_nano_usd=2 * DIME))
    # 2 are spent; the dead letter holds nothing, and may spend 6 more when it is queued again.
    assert (await engine.tasks.redrive("acme", [task.id])).went == [task.id]
    assert not await admitted(engine, costly(2 * DIME + 1))
    assert await admitted(engine, costly(2 * DIME))
    (lease, _) = await lease_all(engine)
    await engine.work.settle([Settlement(lease=lease, outcome=AttemptOutcome.SUCCEEDED, result=1)])
    assert await admitted(engine, costly(6 * DIME))
    assert not await admitted(engine, costly(1))


async def test_a_dead_letter_that_finds_no_room_stays_one_and_is_told_why(engine: Engine) -> None:
    dead = [costly(4 * DIME) for _ in range(2)]
    assert await admitted(engine, *dead)
    await bury(engine, *dead)
    assert await admitted(engine, costly(5 * DIME))
    outcome = await engine.tasks.redrive(None, [dead[0].id, dead[1].id])
    assert outcome.went == [dead[0].id]
    refusal = outcome.refused[dead[1].id]
    assert refusal.code == "budget_exceeded"
    assert "usd_per_day of tenant 'acme' is $1: $0 are spent, $0.9 are reserved" in refusal.message
    assert "$0.1 are left, and this task needs $0.4; it resets at" in refusal.message
    assert refusal.retry_after_s is not None
    assert 0 < refusal.retry_after_s <= 86_400
    assert [record.task.id for record in await engine.tasks.dead("acme", 10)] == [dead[1].id]
    await engine.tasks.cancel(dead[0].id, "make room")
    assert (await engine.tasks.redrive("acme", [dead[1].id])).went == [dead[1].id]
    assert dead[1].id in {lease.task.id for lease in await lease_all(engine)}


async def test_dead_letters_queued_again_at_once_stay_within_the_budget(engine: Engine) -> None:
    dead = [costly() for _ in range(10)]
    assert await admitted(engine, *dead)
    await bury(engine, *dead)
    assert await admitted(engine, costly(7 * DIME))
    outcomes = await asyncio.gather(*(engine.tasks.redrive("acme", [task.id]) for task in dead))
    assert sum(len(outcome.went) for outcome in outcomes) == 3
    assert sum(len(outcome.refused) for outcome in outcomes) == 7
