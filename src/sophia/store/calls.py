"""What calls to models used, by day, tenant, key, model and provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from sophia.access.base import CallBatch, CallRow
from sophia.store import rows
from sophia.store.engine import Database
from sophia.store.sums import DAY_MS
from sophia.store.tables import call_batches, call_days

KEEP_BATCHES_MS = 7 * DAY_MS
"""A batch is repeated within seconds, or when the process that recorded it came back."""
_LABELS = ("day", "tenant", "key", "model", "provider")
_SUMS = (
    "requests",
    "cached",
    "input_tokens",
    "output_tokens",
    "embedding_tokens",
    "cost_nano_usd",
    "saved_nano_usd",
)


class SqlCalls:
    """``access.base.CallLedger``. Raises what ``SqlLedger`` raises."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._insert = postgresql.insert if database.dialect == "postgresql" else sqlite.insert

    async def record_calls(self, batch: CallBatch, now_ms: int) -> None:
        added = [
            {
                **{name: getattr(row, name) for name in (*_LABELS[1:], *_SUMS)},
                "day": rows.day_number(row.day, "day"),
            }
            for row in batch.rows
        ]
        once = self._insert(call_batches).on_conflict_do_nothing().returning(call_batches.c.id)
        insert = self._insert(call_days)
        add = insert.on_conflict_do_update(
            index_elements=list(_LABELS),
            set_={name: call_days.c[name] + insert.excluded[name] for name in _SUMS},
        )
        async with self._database.writing() as connection:
            old = call_batches.c.at_ms < now_ms - KEEP_BATCHES_MS
            await connection.execute(sa.delete(call_batches).where(old))
            fresh = (await connection.execute(once, {"id": batch.id, "at_ms": now_ms})).scalar()
            if fresh is not None and added:
                await connection.execute(add, added)

    async def calls(self, tenant: str | None, from_day: str, to_day: str) -> Sequence[CallRow]:
        first, last = rows.day_number(from_day, "from"), rows.day_number(to_day, "to")
        query = (
            sa.select(call_days)
            .where(call_days.c.day.between(first, last))
            .order_by(*(call_days.c[name] for name in _LABELS))
        )
        if tenant is not None:
            query = query.where(call_days.c.tenant == tenant)
        async with self._database.reading() as connection:
            found = (await connection.execute(query)).mappings()
            return [CallRow(**{**row, "day": rows.day_name(row["day"])}) for row in found]

    async def spent_by(self, accounts: Sequence[str], from_ms: int, to_ms: int) -> Mapping[str, tuple[int, int]]:
        days = call_days.c.day.between(from_ms // DAY_MS, to_ms // DAY_MS - 1)
        tokens = call_days.c.input_tokens + call_days.c.output_tokens + call_days.c.embedding_tokens
        sums: tuple[sa.ColumnElement[Any], ...] = (sa.func.sum(call_days.c.cost_nano_usd), sa.func.sum(tokens))
        tenants = {account.partition("/")[0] for account in accounts}
        by_key = (
            sa.select(call_days.c.tenant, call_days.c.key, *sums)
            .where(call_days.c.tenant.in_(tenants), days)
            .group_by(call_days.c.tenant, call_days.c.key)
        )
        spent: dict[str, tuple[int, int]] = {}
        async with self._database.reading() as connection:
            for tenant, key, usd, count in (await connection.execute(by_key)).all():
                spent[f"{tenant}/{key}"] = (int(usd), int(count))
                before = spent.get(tenant, (0, 0))
                spent[tenant] = (before[0] + int(usd), before[1] + int(count))
        return {account: spent[account] for account in accounts if account in spent}
