"""What tenants' tasks have cost, by when they were admitted: the queue forgets it when it is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from sophia.nouns.task import AttemptOutcome
from sophia.store.sums import DAY_MS
from sophia.store.tables import attempts, tasks, usage_days

_GAVE_UP = (AttemptOutcome.DEAD.value, AttemptOutcome.LOST.value)


async def spent(
    connection: AsyncConnection, tenants: Sequence[str], from_ms: int, to_ms: int
) -> Mapping[str, tuple[int, int]]:
    """Nano-dollars and tokens by tenant; both times are starts of UTC days.

    An attempt counts where its task was submitted, and, where an earlier one was given up so that the task may have
    been admitted anew, where it ended. Of pruned tasks only the days of their attempts' ends are known.
    """
    recorded = await _sum(connection, tenants, _admitted(from_ms, to_ms))
    still_here = await _sum(connection, tenants, _ended(from_ms, to_ms))
    summed = await _rows(connection, _of_days(tenants, from_ms, to_ms))
    answer: dict[str, tuple[int, int]] = {}
    for tenant in tenants:
        pruned = [
            max(0, all_ - here)
            for all_, here in zip(summed.get(tenant, (0, 0)), still_here.get(tenant, (0, 0)), strict=True)
        ]
        known = recorded.get(tenant, (0, 0))
        answer[tenant] = (known[0] + pruned[0], known[1] + pruned[1])
    return answer


def _admitted(from_ms: int, to_ms: int) -> sa.ColumnElement[bool]:
    earlier = attempts.alias("earlier")
    given_up = sa.exists().where(
        earlier.c.task_id == attempts.c.task_id,
        earlier.c.number < attempts.c.number,
        earlier.c.outcome.in_(_GAVE_UP),
    )
    submitted = sa.and_(tasks.c.submitted_at_ms >= from_ms, tasks.c.submitted_at_ms < to_ms)
    return sa.or_(submitted, sa.and_(_ended(from_ms, to_ms), given_up))


def _ended(from_ms: int, to_ms: int) -> sa.ColumnElement[bool]:
    return sa.and_(attempts.c.ended_at_ms >= from_ms, attempts.c.ended_at_ms < to_ms)


async def _sum(
    connection: AsyncConnection, tenants: Sequence[str], where: sa.ColumnElement[bool]
) -> dict[str, tuple[int, int]]:
    query = (
        sa.select(tasks.c.tenant, *_totals(attempts))
        .join(tasks, tasks.c.id == attempts.c.task_id)
        .where(tasks.c.tenant.in_(tenants), attempts.c.ended_at_ms.is_not(None), where)
        .group_by(tasks.c.tenant)
    )
    return await _rows(connection, query)


def _of_days(tenants: Sequence[str], from_ms: int, to_ms: int) -> sa.Select[Any]:
    days = usage_days.c.day.between(from_ms // DAY_MS, to_ms // DAY_MS - 1)
    return (
        sa.select(usage_days.c.tenant, *_totals(usage_days))
        .where(usage_days.c.tenant.in_(tenants), days)
        .group_by(usage_days.c.tenant)
    )


def _totals(table: sa.Table) -> tuple[sa.ColumnElement[int], sa.ColumnElement[int]]:
    tokens = table.c.input_tokens + table.c.output_tokens + table.c.embedding_tokens
    return sa.func.sum(table.c.cost_nano_usd), sa.func.sum(tokens)


async def _rows(connection: AsyncConnection, query: sa.Select[Any]) -> dict[str, tuple[int, int]]:
    # Postgres gives the sum of bigints as a decimal.
    found = (await connection.execute(query)).all()
    return {tenant: (int(nano_usd), int(tokens)) for tenant, nano_usd, tokens in found}
