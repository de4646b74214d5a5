"""Idempotency keys in the ledger."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from sophia.nouns.errors import Conflict
from sophia.store.base import Claim
from sophia.store.statements import Statements
from sophia.store.tables import claims as table


async def holders(connection: AsyncConnection, sql: Statements, claims: Sequence[Claim], now_ms: int) -> list[str]:
    """See ``base.Claims.claim``."""
    if not claims:
        return []
    # In one order, in which concurrent claimers cannot block each other in a circle.
    ordered = sorted(claims, key=_name)
    await connection.execute(sql.claim, [{**msgspec.structs.asdict(claim), "now_ms": now_ms} for claim in ordered])
    names = sa.tuple_(table.c.tenant, table.c.key).in_([_name(claim) for claim in claims])
    held = {
        (row.tenant, row.key): (row.task_id, row.request_hash)
        for row in await connection.execute(sa.select(table).where(names))
    }
    ids = []
    for claim in claims:
        task_id, request_hash = held[_name(claim)]
        if request_hash != claim.request_hash:
            raise Conflict(
                f"the idempotency key {claim.key!r} was used for another request, which made task {task_id}",
                field="Idempotency-Key",
                mend="send the same request again, or a new key",
            )
        ids.append(task_id)
    return ids


async def give_up(connection: AsyncConnection, claims: Sequence[Claim]) -> None:
    """See ``base.Claims.release``."""
    if claims:
        own = sa.tuple_(table.c.tenant, table.c.key, table.c.task_id)
        await connection.execute(sa.delete(table).where(own.in_([(*_name(claim), claim.task_id) for claim in claims])))


def _name(claim: Claim) -> tuple[str, str]:
    return claim.tenant, claim.key
