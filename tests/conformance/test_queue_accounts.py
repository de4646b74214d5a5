"""The accounts of budgets after an engine has lost everything: closed until they are rebuilt, and rebuilt once."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sophia.nouns.budget import Reservation, TenantBudget
from sophia.nouns.errors import BudgetExceeded, Unavailable
from sophia.nouns.task import Attempt, AttemptOutcome, Durability, Task, TaskRecord, TaskState
from sophia.nouns.usage import Usage
from sophia.queue.base import Settlement, Spent
from sophia.queue.budgets import admitted_at_ms, day_of
from tests.support.queue_engines import ENGINES, Engine
from tests.support.servers import chosen_server
from tests.support.tasks import make_task
from tests.support.waiting import settle_for


@pytest.fixture(params=["redis", "redis-4-partitions", "jetstream"])
def place(request: pytest.FixtureRequest) -> tuple[str, str]:
    return chosen_server(request)


@pytest_asyncio.fixture
async def engine(place: tuple[str, str], nats_server_url: str) -> AsyncIterator[Engine]:
    name, redis_url = place
    budgets = {tenant: TenantBudget(tokens_per_day=100, tokens_per_month=150) for tenant in ("acme", "globex")}
    async with ENGINES[name](redis_url, nats_server_url, budgets=budgets) as made:
        await made.lose_everything()
        yield made


def wordy(tokens: int, tenant: str = "acme", **changes: object) -> Task:
    return make_task(tenant=tenant, reserved=Reservation(nano_usd=0, tokens=tokens), **changes)


def spent(tokens: int, tenant: str = "acme", month: int | None = None) -> list[Spent]:
    day = day_of(time.time_ns() // 1_000_000)
    return [
        Spent(tenant=tenant, period=day, nano_usd=0, tokens=tokens),
        Spent(tenant=tenant, period=day[:7], nano_usd=0, tokens=tokens if month is None else month),
    ]


async def test_until_they_are_open_budgeted_tenants_wait_and_others_do_not(engine: Engine) -> None:
    assert not (await engine.upkeep.upkeep(10)).accounts_open
    with pytest.raises(Unavailable, match="is being read from the ledger") as caught:
        await engine.tasks.submit([wordy(1)])
    assert caught.value.retry_after_s is not None
    await engine.tasks.submit([make_task(tenant="free")])
    task = wordy(10, durability=Durability.LEDGER)
    lost = TaskRecord(task=task, state=TaskState.QUEUED, updated_at_ms=1)
    with pytest.raises(Unavailable):
        await engine.upkeep.restore([lost])
    assert await engine.tasks.get([task.id]) == [None]
    assert not await engine.upkeep.begin_accounts("one")
    with pytest.raises(Unavailable):
        await engine.tasks.submit([wordy(1)])
    assert not await engine.upkeep.open_accounts("one"), "nothing is filled in yet"
    assert await engine.upkeep.fill_accounts("one", [*spent(80), *spent(100, "globex", 120)])
    with pytest.raises(Unavailable):
        await engine.tasks.submit([wordy(1)])
    assert await engine.upkeep.restore([lost]) == [task.id]
    assert not (await engine.upkeep.upkeep(10)).accounts_open
    assert await engine.upkeep.open_accounts("one")
    assert (await engine.upkeep.upkeep(10)).accounts_open
    assert await engine.upkeep.begin_accounts("two")
    with pytest.raises(BudgetExceeded, match="80 tokens are spent, 10 tokens are reserved"):
        await engine.tasks.submit([wordy(11)])
    await engine.tasks.submit([wordy(10)])
    with pytest.raises(BudgetExceeded, match="tokens_per_day of tenant 'globex'"):
        await engine.tasks.submit([wordy(1, "globex")])


async def test_what_is_spent_and_reserved_can_be_read(engine: Engine) -> None:
    now_ms = time.time_ns() // 1_000_000
    untouched = await engine.balances.balances("acme", now_ms)
    assert not untouched.open
    assert (untouched.day.period, untouched.month.period) == (day_of(now_ms), day_of(now_ms)[:7])
    await engine.upkeep.begin_accounts("one")
    await engine.upkeep.fill_accounts("one", spent(20, month=70))
    assert not (await engine.balances.balances("acme", now_ms)).open
    await engine.upkeep.open_accounts("one")
    dear = make_task(tenant="acme", reserved=Reservation(nano_usd=2**52, tokens=30))
    await engine.tasks.submit([dear, wordy(10)])

    async def figures(tenant: str) -> list[tuple[int, int, int, int]]:
        read = await engine.balances.balances(tenant, now_ms)
        assert read.open
        return [(b.nano_usd, b.tokens, b.reserved_nano_usd, b.reserved_tokens) for b in (read.day, read.month)]

    assert await figures("acme") == [(0, 20, 2**52, 40), (0, 70, 2**52, 40)]
    (lease,) = await engine.work.lease("w1", ["light"], 1, 2.0)
    assert lease.task.id == dear.id
    used = Usage(input_tokens=7, output_tokens=1, cost_nano_usd=2**52)
    assert await engine.work.settle(
        [Settlement(lease=lease, outcome=AttemptOutcome.SUCCEEDED, result=1, usage=used)]
    ) == [True]
    assert await figures("acme") == [(2**52, 28, 0, 10), (2**52, 78, 0, 10)]
    assert await figures("globex") == [(0, 0, 0, 0)] * 2
    assert await figures("free") == [(0, 0, 0, 0)] * 2


async def test_they_are_opened_once(engine: Engine) -> None:
    for token in ("one", "two"):
        assert not await engine.upkeep.begin_accounts(token)
    assert not await engine.upkeep.fill_accounts("one", spent(1)), "somebody else has begun since"
    for _ in range(2):
        assert await engine.upkeep.fill_accounts("two", spent(50)), "also where its answer was lost"
    assert not await engine.upkeep.open_accounts("one")
    for _ in range(2):
        assert await engine.upkeep.open_accounts("two")
    assert await engine.upkeep.fill_accounts("one", spent(90)), "they are open, and stay as they are"
    with pytest.raises(BudgetExceeded, match="50 tokens are spent, 0 tokens are reserved"):
        await engine.tasks.submit([wordy(51)])
    await engine.tasks.submit([wordy(50)])


async def test_what_was_read_before_another_loss_is_not_written(engine: Engine) -> None:
    await engine.upkeep.begin_accounts("one")
    await engine.lose_everything()
    assert not await engine.upkeep.fill_accounts("one", spent(1))
    assert not await engine.upkeep.begin_accounts("two")
    assert await engine.upkeep.fill_accounts("two", spent(1))
    await engine.lose_everything()
    assert not await engine.upkeep.open_accounts("two")
    assert not (await engine.upkeep.upkeep(10)).accounts_open


async def test_of_many_routers_and_submissions_at_once_nothing_is_admitted_too_early(engine: Engine) -> None:
    async def rebuild(token: str) -> bool:
        return await engine.upkeep.begin_accounts(token) or (
            await engine.upkeep.fill_accounts(token, spent(90)) and await engine.upkeep.open_accounts(token)
        )

    async def admitted() -> bool:
        try:
            await engine.tasks.submit([wordy(1)])
        except (BudgetExceeded, Unavailable):
            return False
        return True

    async def submit_until_open() -> int:
        count = 0
        while True:
            count += sum(await asyncio.gather(*(admitted() for _ in range(10))))
            if (await engine.upkeep.upkeep(1)).accounts_open:
                return count + sum([await admitted() for _ in range(20)])

    async def rebuild_until_open(router: int) -> None:
        attempt = 0
        while not await rebuild(f"{router} {attempt}"):
            attempt += 1
            await settle_for(random.uniform(0.005, 0.1))

    count, *_ = await asyncio.gather(submit_until_open(), *(rebuild_until_open(router) for router in range(3)))
    assert count == 10


async def test_an_account_that_says_more_than_the_ledger_keeps_it(engine: Engine) -> None:
    """As where an older release made it, which had no mark."""
    await engine.upkeep.begin_accounts("one")
    await engine.upkeep.fill_accounts("one", [])
    await engine.upkeep.open_accounts("one")
    await engine.tasks.submit([wordy(60)])
    (lease,) = await engine.work.lease("w1", ["light"], 1, 2.0)
    done = Settlement(lease=lease, outcome=AttemptOutcome.SUCCEEDED, result=1, usage=Usage(input_tokens=60))
    assert await engine.work.settle([done]) == [True]
    await engine.forget_accounts_are_open()
    await engine.upkeep.begin_accounts("two")
    assert await engine.upkeep.fill_accounts("two", spent(10, month=70))
    assert await engine.upkeep.open_accounts("two")
    with pytest.raises(BudgetExceeded, match="60 tokens are spent"):
        await engine.tasks.submit([wordy(41)])
    await engine.tasks.submit([wordy(40)])


def test_a_dead_letter_that_was_queued_again_was_admitted_then() -> None:
    def attempt(number: int, outcome: AttemptOutcome) -> Attempt:
        return Attempt(number=number, worker="w", started_at_ms=number * 100, outcome=outcome)

    task = make_task(submitted_at_ms=1)
    record = TaskRecord(task=task, state=TaskState.QUEUED, updated_at_ms=900)
    assert admitted_at_ms(record) == 1
    lost = (attempt(1, AttemptOutcome.LOST), attempt(2, AttemptOutcome.RETRYING))
    assert admitted_at_ms(TaskRecord(task=task, state=TaskState.RETRYING, attempts=lost, updated_at_ms=900)) == 1
    dead = (*lost, attempt(3, AttemptOutcome.DEAD))
    assert admitted_at_ms(TaskRecord(task=task, state=TaskState.QUEUED, attempts=dead, updated_at_ms=900)) == 900
    again = (*dead, attempt(4, AttemptOutcome.RETRYING), attempt(5, AttemptOutcome.RUNNING))
    assert admitted_at_ms(TaskRecord(task=task, state=TaskState.RUNNING, attempts=again, updated_at_ms=900)) == 400
