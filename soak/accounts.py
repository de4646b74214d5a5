"""The budgets of a run's tenants: what the server has booked must be what the tasks have spent, to the nano-dollar."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from sophia.nouns.budget import Reservation
from sophia.nouns.task import TaskRecord
from sophia.nouns.usage import Usage

AMPLE = {"usd_per_day": 1_000.0, "usd_per_month": 10_000.0, "tokens_per_day": 10**9, "tokens_per_month": 10**10}
BUDGETED = ("acme", "zeta")
"""Tenants of ordinary tasks that have budgets, which are never exhausted: it is the book-keeping that is tried."""
RESERVATION = Reservation(nano_usd=150_000, tokens=150)
"""Of each task of theirs: less than some spend in all their attempts, more than others do."""

RUSH_TENANT = "rush"
RUSH_ROOM, RUSH_SIZE = 10, 100
"""So many tasks fit into that tenant's budget of a day, and so many are submitted at once."""
RUSH_RESERVATION = Reservation(nano_usd=1_000_000, tokens=100)


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant and period (``2026-11-23`` or ``2026-11``), as the server has it."""

    nano_usd: int = 0
    tokens: int = 0
    reserved_nano_usd: int = 0
    reserved_tokens: int = 0


Accounts = Mapping[tuple[str, str], Account]


def tenants_settings() -> dict[str, Any]:
    """The section ``tenants`` of a run's configuration."""
    small = {"tokens_per_day": RUSH_ROOM * RUSH_RESERVATION.tokens}
    return {
        **{tenant: {"budget": AMPLE} for tenant in BUDGETED},
        RUSH_TENANT: {"budget": small},
    }


def account_problems(records: Iterable[TaskRecord], accounts: Accounts, *, books_are_whole: bool = True) -> list[str]:
    """Once every task is final. ``books_are_whole``: the server has never lost what it had booked."""
    wrong = [
        f"{tenant} still has {account.reserved_nano_usd} nano-dollars and {account.reserved_tokens} tokens reserved "
        f"in {period}"
        for (tenant, period), account in accounts.items()
        if account.reserved_nano_usd or account.reserved_tokens
    ]
    return [*wrong, *_unbooked(records, accounts)] if books_are_whole else wrong


def _unbooked(records: Iterable[TaskRecord], accounts: Accounts) -> list[str]:
    spent: defaultdict[tuple[str, str], Usage] = defaultdict(Usage)
    for record in records:
        if record.task.reserved is not None:
            day = datetime.fromtimestamp(record.task.submitted_at_ms / 1000, UTC).date().isoformat()
            for period in (day, day[:7]):
                spent[record.task.tenant, period] += record.usage
    wrong = []
    for key in sorted(spent.keys() | accounts.keys()):
        account, usage = accounts.get(key, Account()), spent[key]
        booked, used = (account.nano_usd, account.tokens), (usage.cost_nano_usd, usage.total_tokens)
        if booked != used:
            wrong.append(f"{key[0]} is booked {booked} (nano-dollars, tokens) in {key[1]}, its tasks have spent {used}")
    return wrong
