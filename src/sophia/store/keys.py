"""Virtual keys in the ledger's database: digests only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from sophia.access.base import KeyLimits, Scope, VirtualKey
from sophia.store.engine import Database
from sophia.store.tables import api_keys


class SqlKeys:
    """``access.base.KeyStore``. Raises what ``SqlLedger`` raises."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, key: VirtualKey) -> None:
        row = {
            **{name: getattr(key, name) for name in _PLAIN},
            "scopes": ",".join(key.scopes),
            "limits": msgspec.json.encode(key.limits).decode(),
        }
        async with self._database.writing() as connection:
            await connection.execute(api_keys.insert(), row)

    async def keys(self, tenant: str | None, *, live_only: bool) -> Sequence[VirtualKey]:
        query = sa.select(api_keys).order_by(api_keys.c.created_at_ms.desc(), api_keys.c.id)
        if tenant is not None:
            query = query.where(api_keys.c.tenant == tenant)
        if live_only:
            query = query.where(api_keys.c.revoked_at_ms.is_(None))
        async with self._database.reading() as connection:
            return [_key(row) for row in (await connection.execute(query)).mappings()]

    async def revoke(self, tenant: str | None, key_id: str, at_ms: int) -> VirtualKey | None:
        mine = [api_keys.c.id == key_id, *([api_keys.c.tenant == tenant] if tenant is not None else [])]
        change = sa.update(api_keys).where(*mine, api_keys.c.revoked_at_ms.is_(None)).values(revoked_at_ms=at_ms)
        async with self._database.writing() as connection:
            await connection.execute(change)
            row = (await connection.execute(sa.select(api_keys).where(*mine))).mappings().one_or_none()
            return None if row is None else _key(row)


_PLAIN = ("id", "tenant", "name", "prefix", "digest", "created_at_ms", "created_by", "expires_at_ms", "revoked_at_ms")


def _key(row: Any) -> VirtualKey:
    return VirtualKey(
        **{name: row[name] for name in _PLAIN},
        scopes=tuple(Scope(name) for name in row["scopes"].split(",")),
        limits=msgspec.json.decode(row["limits"], type=KeyLimits),
    )
