"""Tenant budgets as the scripts take and refuse them."""

from __future__ import annotations

from typing import Any

from sophia.nouns.budget import Reservation, TenantBudget
from sophia.nouns.errors import BudgetExceeded
from sophia.nouns.task import Task
from sophia.queue import budgets


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
