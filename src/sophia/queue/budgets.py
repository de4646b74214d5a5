"""Tenant budgets and their refusals in words, whatever engine keeps the accounts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from sophia.nouns.budget import Reservation, TenantBudget
from sophia.nouns.errors import BudgetExceeded, Unavailable
from sophia.nouns.task import AttemptOutcome, Task, TaskRecord
from sophia.nouns.usage import NANO_USD_PER_USD, Usage
from sophia.queue.base import Balances

Caps = tuple[int | None, int | None]
REOPEN_S = 5.0
"""The router looks that often at the latest whether accounts have to be rebuilt."""


def day_of(at_ms: int) -> str:
    """The UTC day, ``2026-11-23``."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()


def periods_of(day: str) -> tuple[str, str]:
    """The accounts in which a day counts: its own, and its month's."""
    return day, day[:7]


def rest_of(reserved: Reservation | None, spent: Usage) -> Reservation | None:
    """What a task may still spend of what it reserved at first."""
    if reserved is None:
        return None
    return Reservation(
        nano_usd=max(0, reserved.nano_usd - spent.cost_nano_usd), tokens=max(0, reserved.tokens - spent.total_tokens)
    )


def admitted_at_ms(record: TaskRecord) -> int:
    """When a task was admitted last, as far as its history tells: a dead letter that is queued again is admitted anew."""
    deaths = [number for number, attempt in enumerate(record.attempts) if attempt.outcome is AttemptOutcome.DEAD]
    if not deaths:
        return record.task.submitted_at_ms
    later = record.attempts[deaths[-1] + 1 :]
    return later[0].started_at_ms if later else record.updated_at_ms


def caps_of(budget: TenantBudget) -> tuple[Caps, Caps]:
    """Nano-dollars and tokens of a day, and of a month."""
    return (
        (_nano(budget.usd_per_day), budget.tokens_per_day),
        (_nano(budget.usd_per_month), budget.tokens_per_month),
    )


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """One cap of a tenant and what is left of it, in nano-dollars or tokens."""

    name: str
    """As in ``sophia.yaml``: ``usd_per_day``."""
    period: str
    in_usd: bool
    cap: int
    spent: int
    reserved: int
    resets_at_ms: int

    @property
    def left(self) -> int:
        """Never negative, although tasks that were restored may have reserved more than there is."""
        return max(0, self.cap - self.spent - self.reserved)


def allowances(budget: TenantBudget, balances: Balances) -> list[Allowance]:
    """Every cap of a budget, dollars first, days before months."""
    found = []
    for in_usd in (True, False):
        for balance, (cap_usd, cap_tokens) in zip((balances.day, balances.month), caps_of(budget), strict=True):
            cap = cap_usd if in_usd else cap_tokens
            if cap is None:
                continue
            found.append(
                Allowance(
                    name=_name(balance.period, in_usd),
                    period=balance.period,
                    in_usd=in_usd,
                    cap=cap,
                    spent=balance.nano_usd if in_usd else balance.tokens,
                    reserved=balance.reserved_nano_usd if in_usd else balance.reserved_tokens,
                    resets_at_ms=round(_end_of(balance.period).timestamp() * 1000),
                )
            )
    return found


def closed(tenant: str) -> Unavailable:
    """Nothing is admitted against a budget whose account is not known."""
    return Unavailable(
        f"what tenant {tenant!r} has spent of its budgets is being read from the ledger, because the queue is new or was "
        f"lost; until then no task of this tenant is accepted",
        retry_after_s=REOPEN_S,
    )


def refusal(
    task: Task,
    wanted: Reservation | None,
    period: str,
    kind: str,
    cap: int,
    spent: int,
    reserved: int,
    now_ms: int,
) -> BudgetExceeded:
    """``kind``: ``usd`` (in nano-dollars) or ``tok``. ``period``: ``2026-11-23`` or ``2026-11``."""
    needs = 0 if wanted is None else wanted.nano_usd if kind == "usd" else wanted.tokens
    return over_budget(
        f"tenant {task.tenant!r}",
        f"tenants.{task.tenant}.budget",
        period,
        kind,
        (cap, spent, reserved, needs),
        now_ms,
        what="task",
        mend="a smaller budget.max_usd or budget.max_tokens for the task, or a later time",
    )


def over_budget(
    owner: str,
    field: str,
    period: str,
    kind: str,
    figures: tuple[int, int, int, int],
    now_ms: int,
    *,
    what: str,
    mend: str,
) -> BudgetExceeded:
    """``figures``: the cap, what is spent, what is reserved, and what the ``what`` needs. ``kind`` as in ``refusal``."""
    cap, spent, reserved, needs = figures
    name = _name(period, kind == "usd")
    resets = _end_of(period)
    show = _dollars if kind == "usd" else _tokens
    left = max(0, cap - spent - reserved)
    return BudgetExceeded(
        f"the budget {name} of {owner} is {show(cap)}: {show(spent)} are spent, {show(reserved)} are "
        f"reserved by what is under way, {show(left)} are left, and this {what} needs {show(needs)}; it resets at "
        f"{resets.isoformat().replace('+00:00', 'Z')}",
        field=f"{field}.{name}",
        mend=mend,
        retry_after_s=max(1.0, resets.timestamp() - now_ms / 1000),
    )


def _name(period: str, in_usd: bool) -> str:
    return f"{'usd' if in_usd else 'tokens'}_per_{'day' if len(period) == 10 else 'month'}"


def _end_of(period: str) -> datetime:
    if len(period) == 10:
        return datetime.fromisoformat(period).replace(tzinfo=UTC) + timedelta(days=1)
    first = datetime.fromisoformat(f"{period}-01").replace(tzinfo=UTC)
    return (first + timedelta(days=32)).replace(day=1)


def _nano(usd: float | None) -> int | None:
    return None if usd is None else round(usd * NANO_USD_PER_USD)


def _dollars(nano_usd: int) -> str:
    return f"${nano_usd / NANO_USD_PER_USD:.6f}".rstrip("0").rstrip(".")


def _tokens(count: int) -> str:
    return f"{count:,} tokens"
