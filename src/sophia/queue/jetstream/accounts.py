"""What a tenant has spent and reserved of its budgets: one record a tenant, replaced together with the task's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from sophia.queue.jetstream import names
from sophia.queue.jetstream.bus import Bus
from sophia.queue.jetstream.messages import Put
from sophia.queue.jetstream.steps import Spending

PERIODS_KEPT = 45
"""Days and months; the oldest go first. A reservation is of the day and the month of its admission."""


class Account(msgspec.Struct, frozen=True):
    """One period of a tenant."""

    nano_usd: int = 0
    tokens: int = 0
    reserved_nano_usd: int = 0
    reserved_tokens: int = 0


Accounts = dict[str, Account]
"""By period: ``2026-11-23`` or ``2026-11``."""
_decoder = msgspec.json.Decoder(Accounts)
_encode = msgspec.json.Encoder().encode


def periods_of(day: str) -> tuple[str, str]:
    return day, day[:7]


class Book:
    """The accounts of some tenants as they were read, with what shall change."""

    def __init__(self, accounts: Mapping[str, Accounts], revisions: Mapping[str, int]) -> None:
        self._accounts = {tenant: dict(periods) for tenant, periods in accounts.items()}
        self._revisions = revisions

    @classmethod
    async def read(cls, bus: Bus, tenants: Iterable[str]) -> Book:
        subjects = {names.account(tenant): tenant for tenant in tenants}
        stored = await bus.newest(list(subjects)) if subjects else {}
        accounts = {subjects[subject]: _decoder.decode(message.data) for subject, message in stored.items()}
        return cls(accounts, {subjects[subject]: message.seq for subject, message in stored.items()})

    def of(self, tenant: str, period: str) -> Account:
        return self._accounts.get(tenant, {}).get(period, Account())

    def apply(self, spending: Spending) -> None:
        periods = self._accounts.setdefault(spending.tenant, {})
        for period in periods_of(spending.day):
            was = periods.get(period, Account())
            periods[period] = Account(
                was.nano_usd + spending.nano_usd,
                was.tokens + spending.tokens,
                was.reserved_nano_usd + spending.reserve_nano_usd,
                was.reserved_tokens + spending.reserve_tokens,
            )

    def puts(self, spendings: Sequence[Spending]) -> list[Put]:
        """The accounts after these changes."""
        for spending in spendings:
            self.apply(spending)
        return [
            Put(names.account(tenant), _encode(_newest(self._accounts[tenant])), self._revisions.get(tenant, 0))
            for tenant in dict.fromkeys(spending.tenant for spending in spendings)
        ]


def _newest(periods: Accounts) -> Accounts:
    months = sorted((p for p in periods if len(p) == 7), reverse=True)[:3]
    days = sorted((p for p in periods if len(p) > 7), reverse=True)[: PERIODS_KEPT - len(months)]
    return {period: periods[period] for period in (*months, *days)}
