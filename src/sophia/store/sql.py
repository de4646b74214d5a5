"""The ledger in SQL: one implementation for SQLite and Postgres."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from sophia.nouns.clock import Clock, SystemClock
from sophia.nouns.errors import InvalidInput
from sophia.nouns.pool import Instance, InstanceState
from sophia.nouns.task import FINAL_STATES, Attempt, TaskRecord
from sophia.store import cursor as cursors
from sophia.store import rows, sums
from sophia.store.base import Claim, TaskFilter, TaskPage, UsageRow
from sophia.store.batches import SqlBatches
from sophia.store.calls import SqlCalls
from sophia.store.claims import give_up, holders
from sophia.store.engine import Database, open_database
from sophia.store.files import SqlFiles
from sophia.store.keys import SqlKeys
from sophia.store.migrations import migrate
from sophia.store.spent import spent
from sophia.store.statements import Statements
from sophia.store.tables import (
    COUNTED_THROUGH,
    attempts,
    bodies,
    chunk_objects,
    claims,
    file_parts,
    instances,
    marks,
    objects,
    results,
    tasks,
    usage_days,
)

MAX_PAGE = 1_000
_BATCH = 1_000
"""Tasks in one statement; both databases bound the number of parameters."""
MAX_PRUNE = 10_000
_FINAL = sorted(state.value for state in FINAL_STATES)


def open_ledger(url: str | None, data_dir: Path, clock: Clock | None = None) -> SqlLedger:
    """``None``: SQLite in ``data_dir``; else a ``postgresql://`` URL. Connects on first use.

    Raises ``ConfigError`` for a URL that cannot be used.
    """
    return SqlLedger(open_database(url, data_dir), clock or SystemClock())


class SqlLedger:
    """``store.base.Ledger``, ``Claims``, ``ObjectReferences`` and ``Spending``. Every method raises ``Unavailable`` when the database does not answer (the same call may
    be repeated: all are idempotent), ``StorageFull`` when it has no room, ``InvalidInput`` for values it cannot hold,
    and ``ConfigError`` when it must be mended by hand."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._sql = Statements(database.dialect)
        self.keys = SqlKeys(database)
        self.calls = SqlCalls(database)
        self.files = SqlFiles(database)
        self.batches = SqlBatches(database)

    async def migrate(self) -> None:
        await migrate(self._database)

    async def record(self, records: Sequence[TaskRecord]) -> None:
        newest = rows.newest(records)
        if not newest:
            return
        async with self._database.writing() as connection:
            for start in range(0, len(newest), _BATCH):
                await self._record(connection, newest[start : start + _BATCH])

    async def _record(self, connection: AsyncConnection, records: Sequence[TaskRecord]) -> None:
        answer = await connection.execute(self._sql.upsert_task, [rows.task_row(record) for record in records])
        taken_ids = set(answer.scalars())
        taken = [record for record in records if record.task.id in taken_ids]
        if not taken:
            return
        await connection.execute(self._sql.insert_body, [rows.body_row(record) for record in taken])
        with_result = [rows.result_row(record) for record in taken if record.result is not None]
        without = [record.task.id for record in taken if record.result is None]
        referring = [row for record in taken for row in rows.object_rows(record)]
        if referring:
            await connection.execute(self._sql.insert_object, referring)
        if with_result:
            await connection.execute(self._sql.upsert_result, with_result)
        if without:
            # A redriven task has no result any more.
            await connection.execute(sa.delete(results).where(results.c.task_id.in_(without)))
        with_attempts = [record for record in taken if record.attempts]
        if with_attempts:
            await self._record_attempts(connection, with_attempts)

    async def _record_attempts(self, connection: AsyncConnection, records: Sequence[TaskRecord]) -> None:
        # Both are read after the tasks were written, hence locked: nobody else counts or prunes them meanwhile.
        known = await _attempts(connection, [record.task.id for record in records])
        mark = sa.select(marks.c.value).where(marks.c.name == COUNTED_THROUGH)
        counted_through_ms = (await connection.execute(mark)).scalar()
        await connection.execute(
            self._sql.upsert_attempt, [row for record in records for row in rows.attempt_rows(record)]
        )
        added = sums.changes(records, known, counted_through_ms)
        if added:
            await connection.execute(self._sql.add_usage, added)

    async def task(self, task_id: str) -> TaskRecord | None:
        query = (
            sa.select(tasks, bodies.c.task, results.c.result)
            .join(bodies, bodies.c.task_id == tasks.c.id)
            .outerjoin(results, results.c.task_id == tasks.c.id)
            .where(tasks.c.id == task_id)
        )
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
            if row is None:
                return None
            made = await _attempts(connection, [task_id])
            return rows.record_of(row, made.get(task_id, {}), row["result"])

    async def tasks(self, where: TaskFilter, cursor: str | None, limit: int) -> TaskPage:
        if not 1 <= limit <= MAX_PAGE:
            raise InvalidInput(f"limit is {limit}", field="limit", mend=f"1 to {MAX_PAGE}")
        query = (
            sa.select(tasks, bodies.c.task)
            .join(bodies, bodies.c.task_id == tasks.c.id)
            .where(*_conditions(where))
            .order_by(tasks.c.submitted_at_ms.desc(), tasks.c.id.desc())
            .limit(limit + 1)
        )
        if cursor is not None:
            after = cursors.decode(cursor)
            query = query.where(
                sa.tuple_(tasks.c.submitted_at_ms, tasks.c.id) < sa.tuple_(after.submitted_at_ms, after.task_id)
            )
        async with self._database.reading() as connection:
            found = (await connection.execute(query)).mappings().all()
            page = found[:limit]
            made = await _attempts(connection, [row["id"] for row in page])
            records = [rows.record_of(row, made.get(row["id"], {}), None) for row in page]
        more = len(found) > limit
        last = page[-1] if more else None
        position = None if last is None else cursors.Position(last["submitted_at_ms"], last["id"])
        return TaskPage(tasks=records, next_cursor=None if position is None else cursors.encode(position))

    async def usage(self, tenant: str | None, from_day: str, to_day: str) -> list[UsageRow]:
        first, last = rows.day_number(from_day, "from_day"), rows.day_number(to_day, "to_day")
        query = (
            sa.select(usage_days)
            .where(usage_days.c.day.between(first, last), usage_days.c.tasks > 0)
            .order_by(usage_days.c.day, usage_days.c.tenant, usage_days.c.type)
        )
        if tenant is not None:
            query = query.where(usage_days.c.tenant == tenant)
        async with self._database.reading() as connection:
            found = (await connection.execute(query)).mappings()
            return [
                UsageRow(
                    tenant=row["tenant"],
                    type=row["type"],
                    day=rows.day_name(row["day"]),
                    tasks=row["tasks"],
                    usage=rows.usage_of(row),
                )
                for row in found
            ]

    async def claim(self, claims: Sequence[Claim], now_ms: int) -> list[str]:
        async with self._database.writing() as connection:
            return await holders(connection, self._sql, claims, now_ms)

    async def release(self, claims: Sequence[Claim]) -> None:
        async with self._database.writing() as connection:
            await give_up(connection, claims)

    async def referenced(self, keys: Sequence[str]) -> frozenset[str]:
        found: set[str] = set()
        async with self._database.reading() as connection:
            for start in range(0, len(keys), _BATCH):
                some = keys[start : start + _BATCH]
                for table in (objects, file_parts, chunk_objects):
                    needed = sa.select(table.c.object).where(table.c.object.in_(some)).distinct()
                    found.update((await connection.execute(needed)).scalars())
        return frozenset(found)

    async def spent(self, tenants: Sequence[str], from_ms: int, to_ms: int) -> Mapping[str, tuple[int, int]]:
        if not tenants:
            return {}
        async with self._database.reading() as connection:
            return await spent(connection, tenants, from_ms, to_ms)

    async def record_instance(self, instance: Instance) -> None:
        row = {
            "id": instance.id,
            "pool": instance.pool,
            "state": instance.state.value,
            "requested_at_ms": instance.requested_at_ms,
            "recorded_at_ms": self._clock.now_ms(),
            "instance": msgspec.json.encode(instance).decode(),
        }
        async with self._database.writing() as connection:
            await connection.execute(self._sql.upsert_instance, row)

    async def instances(self, live_only: bool) -> list[Instance]:
        query = sa.select(instances.c.instance).order_by(instances.c.requested_at_ms, instances.c.id)
        if live_only:
            query = query.where(instances.c.state != InstanceState.TERMINATED.value)
        async with self._database.reading() as connection:
            found = (await connection.execute(query)).scalars()
            return [msgspec.json.decode(text, type=Instance) for text in found]

    async def prune(self, before_ms: int, limit: int) -> int:
        if limit < 1:
            raise InvalidInput(f"limit is {limit}", field="limit", mend="at least 1")
        old = (
            sa.select(tasks.c.id, tasks.c.finished_at_ms)
            .where(tasks.c.finished_at_ms < before_ms, tasks.c.state.in_(_FINAL))
            .order_by(tasks.c.finished_at_ms)
            .limit(min(limit, MAX_PRUNE))
            .with_for_update(skip_locked=True)
        )
        terminated = instances.c.state == InstanceState.TERMINATED.value
        async with self._database.writing() as connection:
            await connection.execute(sa.delete(instances).where(terminated, instances.c.recorded_at_ms < before_ms))
            await connection.execute(sa.delete(claims).where(claims.c.expires_at_ms < before_ms))
            gone = (await connection.execute(old)).all()
            if gone:
                gone_ids = [row.id for row in gone]
                mark = {"name": COUNTED_THROUGH, "value": max(row.finished_at_ms for row in gone)}
                await connection.execute(self._sql.raise_mark, mark)
                await connection.execute(sa.delete(tasks).where(tasks.c.id.in_(gone_ids)))
        return len(gone)

    async def close(self) -> None:
        await self._database.close()


def _conditions(where: TaskFilter) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    if where.tenant is not None:
        conditions.append(tasks.c.tenant == where.tenant)
    if where.states:
        conditions.append(tasks.c.state.in_([state.value for state in where.states]))
    if where.types:
        conditions.append(tasks.c.type.in_(where.types))
    if where.streams:
        conditions.append(tasks.c.stream.in_(where.streams))
    if where.durability is not None:
        # Written out, because a partial index is used only where its condition stands in the statement.
        conditions.append(tasks.c.durability == sa.literal_column(f"'{where.durability.value}'"))
    if where.submitted_after_ms is not None:
        conditions.append(tasks.c.submitted_at_ms > where.submitted_after_ms)
    if where.submitted_before_ms is not None:
        conditions.append(tasks.c.submitted_at_ms < where.submitted_before_ms)
    return conditions


async def _attempts(connection: AsyncConnection, task_ids: Sequence[str]) -> dict[str, dict[int, Attempt]]:
    """By task and number, in the order of their numbers."""
    made: dict[str, dict[int, Attempt]] = defaultdict(dict)
    if task_ids:
        query = sa.select(attempts).where(attempts.c.task_id.in_(task_ids)).order_by(attempts.c.number)
        for row in (await connection.execute(query)).mappings():
            made[row["task_id"]][row["number"]] = rows.attempt_of(row)
    return made
