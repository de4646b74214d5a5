"""Files of tenants: rows about them; their content is in the object store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from sophia.nouns.batches import FilePart, Purpose, StoredFile
from sophia.store.base import FileFilter
from sophia.store.engine import Database
from sophia.store.tables import batches, file_parts, files

_PARTS_AT_ONCE = 500


class SqlFiles:
    """``store.base.Files``; raises what ``SqlLedger`` does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_file(self, file: StoredFile, parts: Sequence[FilePart]) -> None:
        async with self._database.writing() as connection:
            await insert_file(connection, file, parts)

    async def file(self, tenant: str, file_id: str, now_ms: int) -> StoredFile | None:
        query = sa.select(files).where(files.c.id == file_id, *_visible(tenant, now_ms))
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else _file_of(row)

    async def files(self, tenant: str, where: FileFilter, limit: int, now_ms: int) -> list[StoredFile]:
        # Ids rise with time, so they alone are the order of the files' creation.
        query = sa.select(files).where(*_visible(tenant, now_ms)).limit(limit)
        if where.purpose is not None:
            query = query.where(files.c.purpose == where.purpose.value)
        if where.after is not None:
            query = query.where(files.c.id < where.after if where.newest_first else files.c.id > where.after)
        query = query.order_by(files.c.id.desc() if where.newest_first else files.c.id)
        async with self._database.reading() as connection:
            return [_file_of(row) for row in (await connection.execute(query)).mappings()]

    async def parts(self, file_id: str, first: int, limit: int) -> list[FilePart]:
        query = (
            sa.select(file_parts.c.part)
            .where(file_parts.c.file_id == file_id, file_parts.c.number >= first)
            .order_by(file_parts.c.number)
            .limit(limit)
        )
        async with self._database.reading() as connection:
            found = (await connection.execute(query)).scalars()
            return [msgspec.json.decode(part, type=FilePart) for part in found]

    async def delete_file(self, tenant: str, file_id: str, now_ms: int) -> bool:
        change = sa.update(files).where(files.c.id == file_id, *_visible(tenant, now_ms)).values(deleted=True)
        async with self._database.writing() as connection:
            return bool((await connection.execute(change)).rowcount)

    async def forget_files(self, now_ms: int) -> int:
        read = sa.exists().where(batches.c.input_file_id == files.c.id, batches.c.ended_at_ms.is_(None))
        gone = sa.delete(files).where(sa.or_(files.c.deleted, files.c.expires_at_ms <= now_ms), ~read)
        async with self._database.writing() as connection:
            return (await connection.execute(gone)).rowcount


async def insert_file(connection: AsyncConnection, file: StoredFile, parts: Sequence[FilePart]) -> None:
    """A file and its parts, within somebody's transaction."""
    await connection.execute(files.insert().values(**msgspec.structs.asdict(file), deleted=False))
    rows = [
        {
            "file_id": file.id,
            "number": number,
            "object": part.object.key,
            "part": msgspec.json.encode(part).decode(),
        }
        for number, part in enumerate(parts)
    ]
    for start in range(0, len(rows), _PARTS_AT_ONCE):
        await connection.execute(file_parts.insert(), rows[start : start + _PARTS_AT_ONCE])


def _visible(tenant: str, now_ms: int) -> list[sa.ColumnElement[bool]]:
    alive = sa.or_(files.c.expires_at_ms.is_(None), files.c.expires_at_ms > now_ms)
    return [files.c.tenant == tenant, ~files.c.deleted, alive]


def _file_of(row: Mapping[Any, Any]) -> StoredFile:
    return StoredFile(
        id=row["id"],
        tenant=row["tenant"],
        purpose=Purpose(row["purpose"]),
        filename=row["filename"],
        bytes=row["bytes"],
        created_at_ms=row["created_at_ms"],
        expires_at_ms=row["expires_at_ms"],
    )
