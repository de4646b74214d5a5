"""Batches and their chunks in SQL. Every change of a batch names the version that it changes, so of two writers one
learns that it came second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from sophia.nouns.batches import Batch, ChunkResult, FilePart, StoredFile
from sophia.nouns.errors import ErrorInfo
from sophia.nouns.task import FINAL_STATES, TaskState
from sophia.store.base import EndedChunk
from sophia.store.engine import Database
from sophia.store.files import insert_file
from sophia.store.tables import batch_chunks, batches, chunk_objects, results, tasks

MAX_OPEN = 1_000
_FINAL = sorted(state.value for state in FINAL_STATES)


class SqlBatches:
    """``store.base.Batches``; raises what ``SqlLedger`` does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_batch(self, batch: Batch) -> None:
        async with self._database.writing() as connection:
            await connection.execute(batches.insert().values(_row(batch)))

    async def batch(self, tenant: str, batch_id: str) -> Batch | None:
        found = await self._select(
            sa.select(batches.c.batch).where(batches.c.id == batch_id, batches.c.tenant == tenant)
        )
        return found[0] if found else None

    async def batches(self, tenant: str, after: str | None, limit: int) -> list[Batch]:
        query = sa.select(batches.c.batch).where(batches.c.tenant == tenant).order_by(batches.c.id.desc()).limit(limit)
        return await self._select(query if after is None else query.where(batches.c.id < after))

    async def open_batches(self) -> list[Batch]:
        query = sa.select(batches.c.batch).where(batches.c.ended_at_ms.is_(None)).order_by(batches.c.id)
        return await self._select(query.limit(MAX_OPEN))

    async def _select(self, query: sa.Select[Any]) -> list[Batch]:
        async with self._database.reading() as connection:
            return [msgspec.json.decode(row, type=Batch) for row in (await connection.execute(query)).scalars()]

    async def save_batch(
        self,
        batch: Batch,
        *,
        chunks: Mapping[int, str] = {},
        results: Mapping[int, ChunkResult] = {},
        files: Sequence[tuple[StoredFile, Sequence[FilePart]]] = (),
    ) -> bool:
        own = sa.and_(batches.c.id == batch.id, batches.c.version == batch.version - 1)
        async with self._database.writing() as connection:
            changed = await connection.execute(sa.update(batches).where(own).values(_row(batch)))
            if not changed.rowcount:
                return False
            if chunks:
                rows = [{"batch_id": batch.id, "number": number, "task_id": task} for number, task in chunks.items()]
                await connection.execute(batch_chunks.insert(), rows)
            for number, result in results.items():
                await _record(connection, batch.id, number, result)
            for file, parts in files:
                await insert_file(connection, file, parts)
            if batch.status.is_final:
                await connection.execute(sa.delete(batch_chunks).where(batch_chunks.c.batch_id == batch.id))
                await connection.execute(sa.delete(chunk_objects).where(chunk_objects.c.batch_id == batch.id))
        return True

    async def unsent_chunks(self, batch_id: str, limit: int) -> list[tuple[int, str]]:
        query = (
            sa.select(batch_chunks.c.number, batch_chunks.c.task_id)
            .outerjoin(tasks, tasks.c.id == batch_chunks.c.task_id)
            .where(batch_chunks.c.batch_id == batch_id, batch_chunks.c.result.is_(None), tasks.c.id.is_(None))
            .order_by(batch_chunks.c.number)
            .limit(limit)
        )
        async with self._database.reading() as connection:
            return [(row.number, row.task_id) for row in await connection.execute(query)]

    async def chunk_tasks(self, batch_id: str) -> list[str]:
        query = (
            sa.select(batch_chunks.c.task_id)
            .where(batch_chunks.c.batch_id == batch_id, batch_chunks.c.result.is_(None))
            .order_by(batch_chunks.c.number)
        )
        async with self._database.reading() as connection:
            return list((await connection.execute(query)).scalars())

    async def ended_chunks(self, batch_id: str, limit: int) -> list[EndedChunk]:
        query = (
            sa.select(batch_chunks.c.number, tasks.c.state, tasks.c.error, results.c.result)
            .join(tasks, tasks.c.id == batch_chunks.c.task_id)
            .outerjoin(results, results.c.task_id == tasks.c.id)
            .where(batch_chunks.c.batch_id == batch_id, batch_chunks.c.result.is_(None), tasks.c.state.in_(_FINAL))
            .order_by(batch_chunks.c.number)
            .limit(limit)
        )
        async with self._database.reading() as connection:
            return [_ended(row) for row in (await connection.execute(query)).mappings()]

    async def results(self, batch_id: str) -> list[ChunkResult]:
        query = (
            sa.select(batch_chunks.c.result)
            .where(batch_chunks.c.batch_id == batch_id, batch_chunks.c.result.is_not(None))
            .order_by(batch_chunks.c.number)
        )
        async with self._database.reading() as connection:
            found = (await connection.execute(query)).scalars()
            return [msgspec.json.decode(result, type=ChunkResult) for result in found if result is not None]

    async def forget_batches(self, before_ms: int) -> int:
        async with self._database.writing() as connection:
            return (await connection.execute(sa.delete(batches).where(batches.c.ended_at_ms < before_ms))).rowcount


async def _record(connection: AsyncConnection, batch_id: str, number: int, result: ChunkResult) -> None:
    own = sa.and_(batch_chunks.c.batch_id == batch_id, batch_chunks.c.number == number)
    await connection.execute(sa.update(batch_chunks).where(own).values(result=msgspec.json.encode(result).decode()))
    wanted = {ref.key for ref in (*result.output, *result.errors)}
    held = sa.select(chunk_objects.c.object).where(
        chunk_objects.c.batch_id == batch_id, chunk_objects.c.object.in_(wanted)
    )
    # Chunks of equal lines have equal objects.
    new = wanted.difference((await connection.execute(held)).scalars())
    if new:
        await connection.execute(chunk_objects.insert(), [{"batch_id": batch_id, "object": key} for key in sorted(new)])


def _row(batch: Batch) -> dict[str, Any]:
    return {
        "id": batch.id,
        "tenant": batch.tenant,
        "input_file_id": batch.input_file_id,
        "created_at_ms": batch.created_at_ms,
        "ended_at_ms": batch.ended_at_ms,
        "version": batch.version,
        "batch": msgspec.json.encode(batch).decode(),
    }


def _ended(row: Mapping[Any, Any]) -> EndedChunk:
    result = error = None
    if row["result"] is not None:
        result = msgspec.json.decode(row["result"], type=ChunkResult)
    if row["error"] is not None:
        error = msgspec.json.decode(row["error"], type=ErrorInfo).message
    return EndedChunk(number=row["number"], state=TaskState(row["state"]), result=result, error=error)
