"""What a tenant has spent and reserved of its budgets: one record a tenant, replaced together with the tasks'.

A server that dies while it stores a batch may keep the account of it and not the tasks' records, which come later. So an
account names the changes that made it, by task and by how many changes of that task it counts (``Record.accounted``):
whoever reads an account for the first time since its connection was made looks whether those tasks know of them, and
takes back what they do not. Nobody can build on such an account without having been cut off before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from sophia.queue.base import Balance, Balances, Spent
from sophia.queue.budgets import periods_of
from sophia.queue.jetstream import names
from sophia.queue.jetstream.bus import Bus
from sophia.queue.jetstream.messages import Put, Stored
from sophia.queue.jetstream.record import decode_record
from sophia.queue.jetstream.step import Spending

PERIODS_KEPT = 45
"""Days and months; the oldest go first. A reservation is of the day and the month of its admission."""
OPEN, FILLED = b"open", b"+"


class Account(msgspec.Struct, frozen=True):
    """One period of a tenant."""

    nano_usd: int = 0
    tokens: int = 0
    reserved_nano_usd: int = 0
    reserved_tokens: int = 0


class Page(msgspec.Struct):
    """A tenant's accounts as they are stored."""

    periods: dict[str, Account] = {}
    """By ``2026-11-23`` or ``2026-11``."""
    last: tuple[Spending, ...] = ()
    """The changes that made it what it is."""


_page = msgspec.json.Decoder(Page)
_encode = msgspec.json.Encoder().encode


class Book:
    """The accounts of some tenants as they were read, with what shall change."""

    def __init__(self, pages: Mapping[str, Page], stored: Mapping[str, Stored], mark: Stored | None) -> None:
        self._pages = dict(pages)
        self._revisions = {tenant: message.seq for tenant, message in stored.items()}
        self._mark = mark

    @classmethod
    async def read(cls, bus: Bus, tenants: Iterable[str]) -> Book:
        subjects = {names.account(tenant): tenant for tenant in tenants}
        found = await bus.newest([names.ACCOUNTS, *subjects])
        mark = found.pop(names.ACCOUNTS, None)
        stored = {subjects[subject]: message for subject, message in found.items()}
        pages = {tenant: _page.decode(message.data) for tenant, message in stored.items()}
        for tenant in sorted(pages.keys() - bus.trusted_accounts):
            torn = await _torn(bus, pages[tenant].last)
            for spending in torn:
                _change(pages[tenant], spending, -1)
            if not torn:
                bus.trusted_accounts.add(tenant)
        return cls(pages, stored, mark)

    @property
    def is_open(self) -> bool:
        """Whether anything may be admitted against these accounts: a new server knows nothing of what was spent."""
        return self._mark is not None and self._mark.data == OPEN

    def of(self, tenant: str, period: str) -> Account:
        return self._pages.get(tenant, Page()).periods.get(period, Account())

    def balances(self, tenant: str, day: str) -> Balances:
        of_day, of_month = (
            Balance(
                period=period,
                nano_usd=account.nano_usd,
                tokens=account.tokens,
                reserved_nano_usd=account.reserved_nano_usd,
                reserved_tokens=account.reserved_tokens,
            )
            for period, account in ((period, self.of(tenant, period)) for period in periods_of(day))
        )
        return Balances(open=self.is_open, day=of_day, month=of_month)

    def puts(self, spendings: Sequence[Spending]) -> list[Put]:
        """The accounts after these changes."""
        tenants = dict.fromkeys(spending.tenant for spending in spendings)
        for tenant in tenants:
            page = self._pages.setdefault(tenant, Page())
            page.last = tuple(spending for spending in spendings if spending.tenant == tenant)
            for spending in page.last:
                _change(page, spending, 1)
        puts = [self._put(tenant) for tenant in tenants]
        if self.is_open and self._mark is not None and any(tenant not in self._revisions for tenant in tenants):
            # A tenant's first account has no revision that would differ on a server that was emptied meanwhile.
            puts.append(Put(names.ACCOUNTS, OPEN, self._mark.seq))
        return puts

    def raised(self, spent: Sequence[Spent]) -> list[Put]:
        """The accounts with at least this spent."""
        for row in spent:
            page = self._pages.setdefault(row.tenant, Page())
            was = page.periods.get(row.period, Account())
            page.periods[row.period] = msgspec.structs.replace(
                was, nano_usd=max(was.nano_usd, row.nano_usd), tokens=max(was.tokens, row.tokens)
            )
            page.last = ()
        return [self._put(tenant) for tenant in dict.fromkeys(row.tenant for row in spent)]

    def _put(self, tenant: str) -> Put:
        page = self._pages[tenant]
        page.periods = _newest(page.periods)
        return Put(names.account(tenant), _encode(page), self._revisions.get(tenant, 0))


async def are_open(bus: Bus) -> bool:
    mark = await bus.last(names.ACCOUNTS)
    return mark is not None and mark.data == OPEN


async def are_filled(bus: Bus) -> bool:
    mark = await bus.last(names.ACCOUNTS)
    return mark is not None and (mark.data == OPEN or mark.data.startswith(FILLED))


async def begin(bus: Bus, token: str) -> bool:
    """See ``BudgetAccounts``, also for the other two."""
    if await are_open(bus):
        return True
    await bus.write([Put(names.ACCOUNTS, token.encode())])
    return False


async def fill(bus: Bus, token: str, spent: Sequence[Spent]) -> bool:
    """Raises ``Mismatch`` when an account has changed meanwhile."""
    mark, filled = await bus.last(names.ACCOUNTS), FILLED + token.encode()
    if mark is None or mark.data not in (OPEN, filled, token.encode()):
        return False
    if mark.data == token.encode():
        book = await Book.read(bus, {row.tenant for row in spent})
        await bus.write([*book.raised(spent), Put(names.ACCOUNTS, filled, mark.seq)])
    return True


async def open_filled(bus: Bus, token: str) -> bool:
    """Raises ``Mismatch`` when somebody else has begun meanwhile."""
    mark = await bus.last(names.ACCOUNTS)
    if mark is None or mark.data not in (OPEN, FILLED + token.encode()):
        return False
    if mark.data != OPEN:
        await bus.write([Put(names.ACCOUNTS, OPEN, mark.seq)])
    return True


async def _torn(bus: Bus, changes: Sequence[Spending]) -> list[Spending]:
    """Those of an account's changes that their tasks do not know of. A record that is gone was let go long after its
    last change, except that of a task whose first change this would have been."""
    stored = await bus.newest([names.record(change.task_id) for change in changes]) if changes else {}
    counted = {known.record.task.id: known.record.accounted for known in map(decode_record, stored.values())}
    let_go = {change.task_id for change in changes if change.number > 1} - counted.keys()
    return [
        change for change in changes if change.task_id not in let_go and counted.get(change.task_id, 0) < change.number
    ]


def _change(page: Page, spending: Spending, sign: int) -> None:
    for period in periods_of(spending.day):
        was = page.periods.get(period, Account())
        page.periods[period] = Account(
            was.nano_usd + sign * spending.nano_usd,
            was.tokens + sign * spending.tokens,
            was.reserved_nano_usd + sign * spending.reserve_nano_usd,
            was.reserved_tokens + sign * spending.reserve_tokens,
        )


def _newest(periods: Mapping[str, Account]) -> dict[str, Account]:
    months = sorted((p for p in periods if len(p) == 7), reverse=True)[:3]
    days = sorted((p for p in periods if len(p) > 7), reverse=True)[: PERIODS_KEPT - len(months)]
    return {period: periods[period] for period in (*months, *days)}
