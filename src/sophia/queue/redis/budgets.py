"""Tenant budgets as the scripts take and refuse them."""

from __future__ import annotations

from typing import Any

from sophia.nouns.budget import Reservation, TenantBudget
from sophia.nouns.errors import BudgetExceeded
from sophia.nouns.task import Task
from sophia.queue import budgets
from sophia.queue.base import Balance, Balances
from sophia.queue.redis.shared import Scripts
from sophia.redis.connection import persistently


def budget_args(budget: TenantBudget | None, reserve: Reservation | None, at_ms: int) -> tuple[Any, ...]:
    """Day, nano-dollars, tokens, caps; an empty day where there is nothing to reserve against."""
    if budget is None or reserve is None:
        return ("", 0, 0, "")
    (usd_day, tokens_day), (usd_month, tokens_month) = budgets.caps_of(budget)
    words = ",".join("-" if cap is None else str(cap) for cap in (usd_day, usd_month, tokens_day, tokens_month))
    return (budgets.day_of(at_ms), reserve.nano_usd, reserve.tokens, words)


def refusal(task: Task, wanted: Reservation | None, details: list[bytes], now_ms: int) -> BudgetExceeded:
    """``details``: period, kind, cap, spent, reserved, as the script gives them."""
    cap, spent, reserved = (int(value) for value in details[2:5])
    return budgets.refusal(task, wanted, details[0].decode(), details[1].decode(), cap, spent, reserved, now_ms)


async def balances(scripts: Scripts, tenant: str, at_ms: int) -> Balances:
    """See ``BudgetBalances``."""
    periods = budgets.periods_of(budgets.day_of(at_ms))
    prefix = scripts.prefix_of(tenant)
    is_open, *figures = await persistently(lambda: scripts.call("balances", prefix, tenant, *periods))
    day, month = (
        Balance(period=period, nano_usd=usd, tokens=tokens, reserved_nano_usd=held_usd, reserved_tokens=held_tokens)
        for period, (usd, tokens, held_usd, held_tokens) in zip(
            periods, (map(int, figures[:4]), map(int, figures[4:])), strict=True
        )
    )
    return Balances(open=is_open == 1, day=day, month=month)
