"""Rebuilds what tenants have spent of their budgets after the queue has lost it."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime

from sophia.access.base import CallLedger, KeyStore, account_of_key
from sophia.nouns.budget import TenantBudget
from sophia.nouns.clock import Clock
from sophia.queue.base import BudgetAccounts, Spent
from sophia.router.reconcile import Reconciler
from sophia.store.base import Spending

log = logging.getLogger(__name__)

_DAY_MS = 86_400_000


class Bookkeeper:
    """Until it has filled in what was spent, the queue holds no budgeted task: nothing can be spent between reading the
    ledger and writing the accounts. Until every budgeted task that is under way holds its reservation again, nothing
    new is admitted against a budget. Should the queue be lost once more, or another router be faster, the token it was
    begun with is gone, and nothing is written."""

    def __init__(
        self,
        upkeep: BudgetAccounts,
        spending: Spending,
        reconciler: Reconciler,
        budgets: Mapping[str, TenantBudget],
        clock: Clock,
        calls: tuple[KeyStore, CallLedger] | None = None,
    ) -> None:
        self._upkeep = upkeep
        self._spending = spending
        self._reconciler = reconciler
        self._tenants = sorted(name for name, budget in budgets.items() if budget.caps_usd or budget.caps_tokens)
        self._clock = clock
        self._calls = calls

    async def reopen(self) -> bool:
        """Open the accounts of today and of this month unless they are open; ``False`` when it has to be tried again."""
        token = f"by {secrets.token_hex(8)}"
        if await self._upkeep.begin_accounts(token):
            return True
        spent = await self._spent()
        if not await self._upkeep.fill_accounts(token, spent):
            return False
        for tenant in self._tenants:
            await self._reconciler.restore_all(tenant)
        opened = await self._upkeep.open_accounts(token)
        if opened and spent:
            log.warning("the queue had lost what tenants had spent of their budgets", extra={"accounts": len(spent)})
        return opened

    async def _accounts(self) -> list[str]:
        """Of tenants, and of keys that have budgets of their own."""
        if self._calls is None:
            return self._tenants
        keys = await self._calls[0].keys(None, live_only=True)
        budgeted = [key for key in keys if key.limits.budget.caps_usd or key.limits.budget.caps_tokens]
        return [*self._tenants, *(account_of_key(key.tenant, key.id) for key in budgeted)]

    async def _spent(self) -> list[Spent]:
        now_ms = self._clock.now_ms()
        today_ms = now_ms // _DAY_MS * _DAY_MS
        today = datetime.fromtimestamp(today_ms / 1000, UTC).date()
        month_ms = today_ms - (today.day - 1) * _DAY_MS
        found = []
        accounts = await self._accounts()
        for period, from_ms in ((today.isoformat(), today_ms), (today.isoformat()[:7], month_ms)):
            sums = dict(await self._spending.spent(self._tenants, from_ms, today_ms + _DAY_MS))
            if self._calls is not None:
                for account, spent in (await self._calls[1].spent_by(accounts, from_ms, today_ms + _DAY_MS)).items():
                    of_tasks = sums.get(account, (0, 0))
                    sums[account] = (of_tasks[0] + spent[0], of_tasks[1] + spent[1])
            found += [
                Spent(tenant=tenant, period=period, nano_usd=nano_usd, tokens=tokens)
                for tenant, (nano_usd, tokens) in sums.items()
                if nano_usd or tokens
            ]
        return found
