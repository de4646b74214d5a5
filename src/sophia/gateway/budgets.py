"""What a tenant may still spend."""

from __future__ import annotations

from typing import Any, cast

from starlette.responses import Response

from sophia.gateway.deps import Call
from sophia.gateway.query import parsed
from sophia.gateway.responses import json_answer
from sophia.gateway.schemas import BudgetsView, BudgetView
from sophia.gateway.views import at
from sophia.nouns.budget import TenantBudget
from sophia.nouns.errors import Forbidden
from sophia.nouns.usage import NANO_USD_PER_USD
from sophia.queue.base import Balances
from sophia.queue.budgets import Allowance, allowances
from sophia.settings.fields import Name


async def get_budgets(call: Call) -> Response:
    tenant = _tenant(call)
    settings = call.settings.tenants.get(tenant)
    budget = settings.budget if settings else TenantBudget()
    now_ms = call.deps.clock.now_ms()
    balances = await call.deps.balances.balances(tenant, now_ms) if budget.caps_usd or budget.caps_tokens else None
    return json_answer(budgets_view(tenant, budget, balances, now_ms))


def budgets_view(tenant: str, budget: TenantBudget, balances: Balances | None, now_ms: int) -> BudgetsView:
    """``balances``: ``None`` where there is no budget."""
    found = allowances(budget, balances) if balances is not None else []
    known = balances is None or balances.open
    return BudgetsView(
        tenant=tenant,
        summary=_summary(tenant, found, known=known),
        rebuilding=not known,
        budgets=[_line(allowance, known=known) for allowance in found],
        at=at(now_ms),
    )


def _tenant(call: Call) -> str:
    """Raises ``Forbidden`` where another tenant's budgets are asked for by one who is no operator."""
    asked = call.request.query_params.get("tenant")
    if asked is None or asked == call.tenant:
        return call.tenant
    if not call.holder.operator:
        raise Forbidden(
            "another tenant's budgets are for the platform's operator",
            field="tenant",
            mend="leave `tenant` out to see your own, or use a key with `operator: true` under auth.api_keys",
        )
    return parsed(call, "tenant", asked, Name)


def _line(allowance: Allowance, *, known: bool) -> BudgetView:
    per_unit = NANO_USD_PER_USD if allowance.in_usd else 1
    return BudgetView(
        name=cast(Any, allowance.name),
        unit="usd" if allowance.in_usd else "tokens",
        period=allowance.period,
        cap=allowance.cap / per_unit,
        spent=allowance.spent / per_unit if known else None,
        reserved=allowance.reserved / per_unit if known else None,
        left=allowance.left / per_unit if known else None,
        resets_at=at(allowance.resets_at_ms),
    )


def _summary(tenant: str, found: list[Allowance], *, known: bool) -> str:
    if not found:
        return f"tenant {tenant!r} has no budget: nothing caps what its tasks spend in a day or month"
    if not known:
        return (
            f"what tenant {tenant!r} has spent is being read from the ledger, because the queue is new or was lost; "
            f"until then none of its tasks is accepted"
        )
    used_up = [allowance.name for allowance in found if allowance.left == 0]
    if used_up:
        return f"tenant {tenant!r} has nothing left of {' and '.join(used_up)}"
    tightest = min(found, key=lambda allowance: allowance.left / allowance.cap)
    return (
        f"tenant {tenant!r} has {tightest.left / tightest.cap:.0%} left of {tightest.name}, the budget nearest its end"
    )
