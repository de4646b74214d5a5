"""Tenant budgets as the submission script takes and refuses them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sophia.nouns.budget import TenantBudget
from sophia.nouns.errors import BudgetExceeded
from sophia.nouns.task import Task
from sophia.queue import budgets


def budget_args(task: Task, budget: TenantBudget | None) -> tuple[Any, ...]:
    """Day, nano-dollars, tokens, caps; an empty day where there is nothing to reserve against."""
    if budget is None or task.reserved is None:
        return ("", 0, 0, "")
    day = datetime.fromtimestamp(task.submitted_at_ms / 1000, UTC).date().isoformat()
    (usd_day, tokens_day), (usd_month, tokens_month) = budgets.caps_of(budget)
    words = ",".join("-" if cap is None else str(cap) for cap in (usd_day, usd_month, tokens_day, tokens_month))
    return (day, task.reserved.nano_usd, task.reserved.tokens, words)


def refusal(task: Task, details: list[bytes], now_ms: int) -> BudgetExceeded:
    """``details``: period, kind, cap, spent, reserved, as the script gives them."""
    cap, spent, reserved = (int(value) for value in details[2:5])
    return budgets.refusal(task, details[0].decode(), details[1].decode(), cap, spent, reserved, now_ms)
