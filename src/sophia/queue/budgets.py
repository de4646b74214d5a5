"""Tenant budgets and their refusals in words, whatever engine keeps the accounts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sophia.nouns.budget import TenantBudget
from sophia.nouns.errors import BudgetExceeded
from sophia.nouns.task import Task
from sophia.nouns.usage import NANO_USD_PER_USD

Caps = tuple[int | None, int | None]


def caps_of(budget: TenantBudget) -> tuple[Caps, Caps]:
    """Nano-dollars and tokens of a day, and of a month."""
    return (
        (_nano(budget.usd_per_day), budget.tokens_per_day),
        (_nano(budget.usd_per_month), budget.tokens_per_month),
    )


def refusal(task: Task, period: str, kind: str, cap: int, spent: int, reserved: int, now_ms: int) -> BudgetExceeded:
    """``kind``: ``usd`` (in nano-dollars) or ``tok``. ``period``: ``2026-11-23`` or ``2026-11``."""
    span = "day" if len(period) == 10 else "month"
    name = f"{'usd' if kind == 'usd' else 'tokens'}_per_{span}"
    resets = _end_of(period)
    wanted = 0 if task.reserved is None else task.reserved.nano_usd if kind == "usd" else task.reserved.tokens
    show = _dollars if kind == "usd" else _tokens
    left = max(0, cap - spent - reserved)
    return BudgetExceeded(
        f"the budget {name} of tenant {task.tenant!r} is {show(cap)}: {show(spent)} are spent, {show(reserved)} are "
        f"reserved by tasks under way, {show(left)} are left, and this task needs {show(wanted)}; it resets at "
        f"{resets.isoformat().replace('+00:00', 'Z')}",
        field=f"tenants.{task.tenant}.budget.{name}",
        mend="a smaller budget.max_usd or budget.max_tokens for the task, or a later time",
        retry_after_s=max(1.0, resets.timestamp() - now_ms / 1000),
    )


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
