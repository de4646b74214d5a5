"""Accounts of budgets on JetStream where the server died in the middle of a batch: exact, whatever part it has kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from sophia.nouns.budget import Reservation, TenantBudget
from sophia.nouns.errors import BudgetExceeded
from sophia.nouns.task import AttemptOutcome, Task
from sophia.nouns.usage import Usage
from sophia.queue.base import Lease, Settlement
from sophia.queue.jetstream import (
    Bus,
    JetStreamOptions,
    JetStreamTaskQueue,
    JetStreamUpkeep,
    JetStreamWorkQueue,
    close_bus,
    open_bus,
)
from sophia.queue.jetstream.accounts import Account, Book
from sophia.queue.jetstream.messages import Put
from tests.support.budget_accounts import open_accounts
from tests.support.nats import empty_nats
from tests.support.tasks import make_task

OPTIONS = JetStreamOptions(streams=("light",), budgets={"acme": TenantBudget(tokens_per_day=100)})


class Died(Exception):
    """The server, and with it every connection."""


class TearingBus:
    """Keeps the first messages of the next batch that has an account, one by one, and is gone."""

    def __init__(self, bus: Bus, keep: Callable[[Put], bool]) -> None:
        self._bus = bus
        self._keep = keep

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    async def write(self, puts: list[Put]) -> int:
        if not any(put.subject.startswith("sophia.k.b.") for put in puts):
            return await self._bus.write(puts)
        for put in puts:
            if not self._keep(put):
                break
            await self._bus.write([Put(put.subject, put.data)])
        raise Died


class Side:
    """Queue and worker of one process."""

    def __init__(self, bus: Any) -> None:
        self.bus = bus
        self.tasks = JetStreamTaskQueue(bus, OPTIONS)
        self.work = JetStreamWorkQueue(bus, OPTIONS)

    async def lease(self) -> list[Lease]:
        return await self.work.lease("w1", ["light"], 10, 0)

    async def account(self) -> Account:
        book = await Book.read(self.bus, ["acme"])
        (period,) = [period for period in book._pages["acme"].periods if len(period) == 10]
        return book.of("acme", period)


@pytest_asyncio.fixture
async def bus(nats_server_url: str) -> AsyncIterator[Bus]:
    await empty_nats(nats_server_url)
    opened = await open_bus(nats_server_url)
    await open_accounts(JetStreamUpkeep(opened, OPTIONS))
    yield opened
    await close_bus(opened)


@pytest_asyncio.fixture
async def side(bus: Bus) -> AsyncIterator[Side]:
    made = Side(bus)
    yield made
    await made.work.close()
    await made.tasks.close()


def wordy(tokens: int, **changes: object) -> Task:
    return make_task(tenant="acme", reserved=Reservation(nano_usd=0, tokens=tokens), **changes)


def done(lease: Lease, tokens: int) -> Settlement:
    usage = Usage(input_tokens=tokens)
    return Settlement(lease=lease, outcome=AttemptOutcome.SUCCEEDED, result=1, usage=usage)


def before_record_of(task: Task) -> Callable[[Put], bool]:
    return lambda put: put.subject != f"sophia.n.t.{task.id}"


async def restarted(bus: Bus) -> None:
    """As every connection has it after the server came back."""
    bus.on_cut()


async def test_a_submission_that_was_cut_off_reserves_nothing(side: Side, bus: Bus) -> None:
    task = wordy(60)
    with pytest.raises(Died):
        await JetStreamTaskQueue(TearingBus(bus, before_record_of(task)), OPTIONS).submit([task])  # type: ignore[arg-type]
    await restarted(bus)
    assert await side.account() == Account()
    await side.tasks.submit([wordy(60)])
    assert await side.account() == Account(reserved_tokens=60)
    with pytest.raises(BudgetExceeded):
        await side.tasks.submit([task])
    await side.tasks.submit([wordy(40)])


async def test_a_settlement_that_was_cut_off_and_is_repeated_counts_once(side: Side, bus: Bus) -> None:
    task = wordy(60)
    await side.tasks.submit([task])
    (lease,) = await side.lease()
    torn = JetStreamWorkQueue(TearingBus(bus, before_record_of(task)), OPTIONS)  # type: ignore[arg-type]
    with pytest.raises(Died):
        await torn.settle([done(lease, 50)])
    await restarted(bus)
    # Its record changes in another way, which is no change of the account.
    await side.tasks.cancel(task.id, "too late")
    assert await side.account() == Account(reserved_tokens=60)
    assert await side.work.settle([done(lease, 50)]) == [True]
    assert await side.account() == Account(tokens=50)
    assert await side.work.settle([done(lease, 50)]) == [True]
    await side.tasks.submit([wordy(50)])


async def test_of_a_batch_that_was_cut_off_in_the_middle_what_was_kept_counts(side: Side, bus: Bus) -> None:
    tasks = [wordy(20) for _ in range(4)]
    await side.tasks.submit(tasks)
    leases = {lease.task.id: lease for lease in await side.lease()}
    torn = JetStreamWorkQueue(TearingBus(bus, before_record_of(tasks[2])), OPTIONS)  # type: ignore[arg-type]
    settlements = [done(leases[task.id], 5) for task in tasks]
    with pytest.raises(Died):
        await torn.settle(settlements)
    await restarted(bus)
    assert await side.account() == Account(tokens=10, reserved_tokens=40)
    assert await side.work.settle(settlements) == [True] * 4
    assert await side.account() == Account(tokens=20)


async def test_what_was_read_before_the_server_died_is_looked_at_again(side: Side, bus: Bus) -> None:
    await side.tasks.submit([wordy(10)])
    assert await side.account() == Account(reserved_tokens=10)
    task = wordy(60, idempotency_key="k")
    with pytest.raises(Died):
        await JetStreamTaskQueue(TearingBus(bus, before_record_of(task)), OPTIONS).submit([task])  # type: ignore[arg-type]
    await restarted(bus)
    (receipt,) = await side.tasks.submit([task])
    assert (receipt.task_id, receipt.duplicate) == (task.id, False)
    assert await side.account() == Account(reserved_tokens=70)
