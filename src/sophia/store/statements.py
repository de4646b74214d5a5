"""Statements that need the dialect's own ``INSERT … ON CONFLICT``, and the sums."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from sophia.store.engine import Dialect
from sophia.store.rows import DAY_MS
from sophia.store.tables import (
    USAGE_COLUMNS,
    attempts,
    bodies,
    instances,
    marks,
    results,
    tasks,
    usage_days,
)

Insert = postgresql.Insert | sqlite.Insert

_SUMMED = ("tasks", *USAGE_COLUMNS)


class Statements:
    """Built once for a dialect; their parameters are rows of ``rows``."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        insert_task = self._insert(tasks)
        new, old = insert_task.excluded, tasks.c
        # The immutable columns are left alone: an index entry that stays costs nothing.
        self.upsert_task = insert_task.on_conflict_do_update(
            index_elements=["id"],
            set_={
                name: new[name]
                for name in (
                    "state",
                    "updated_at_ms",
                    "due_at_ms",
                    "finished_at_ms",
                    "cancel_requested",
                    "progress",
                    "error",
                )
            },
            where=sa.tuple_(new.updated_at_ms, new.progress) >= sa.tuple_(old.updated_at_ms, old.progress),
        ).returning(tasks.c.id)
        """Returns the ids that were taken; the others are known in a newer version."""
        self.insert_body = self._insert(bodies).on_conflict_do_nothing(index_elements=["task_id"])
        self.upsert_result = self._upsert(results, ("task_id",))
        # rolled_up says whether the sums had the attempt when it came first, so it is never changed.
        self.upsert_attempt = self._upsert(attempts, ("task_id", "number"), fixed=("tenant", "type", "rolled_up"))
        self.upsert_instance = self._upsert(instances, ("id",))
        insert_mark = self._insert(marks)
        self.raise_mark = insert_mark.on_conflict_do_update(
            index_elements=["name"],
            set_={"value": insert_mark.excluded.value},
            where=insert_mark.excluded.value > marks.c.value,
        )

    def roll_up(self, task_ids: Sequence[str]) -> sa.Executable:
        """Add what these tasks used to the sums that outlive them."""
        parts = _by_day(attempts.c.task_id.in_(task_ids)).subquery()
        columns = ("tenant", "type", "day", *_SUMMED)
        # In a fixed order, so that two of these cannot block each other in a circle.
        ordered = sa.select(*(parts.c[name] for name in columns)).where(sa.true()).order_by(*parts.c)
        insert = self._insert(usage_days).from_select(columns, ordered)
        return insert.on_conflict_do_update(
            index_elements=["tenant", "type", "day"],
            set_={name: usage_days.c[name] + insert.excluded[name] for name in _SUMMED},
        )

    def usage(self, tenant: str | None, first_day: int, last_day: int) -> sa.Select[Any]:
        """Sums by tenant, type and day, of tasks that are still here and of those that were pruned."""
        ended = attempts.c.ended_at_ms
        live = _by_day(ended >= first_day * DAY_MS, ended < (last_day + 1) * DAY_MS)
        gone = sa.select(usage_days).where(usage_days.c.day.between(first_day, last_day))
        if tenant is not None:
            live = live.where(attempts.c.tenant == tenant)
            gone = gone.where(usage_days.c.tenant == tenant)
        both = sa.union_all(live, gone).subquery()
        keys = (both.c.day, both.c.tenant, both.c.type)
        return sa.select(*keys, *_sums(both.c, _SUMMED)).group_by(*keys).order_by(*keys)

    def _insert(self, table: sa.Table) -> Insert:
        return sqlite.insert(table) if self._dialect == "sqlite" else postgresql.insert(table)

    def _upsert(self, table: sa.Table, keys: Collection[str], fixed: Collection[str] = ()) -> Insert:
        insert = self._insert(table)
        changed = [name for name in table.c.keys() if name not in keys and name not in fixed]  # noqa: SIM118
        return insert.on_conflict_do_update(
            index_elements=list(keys), set_={name: insert.excluded[name] for name in changed}
        )


def _by_day(*conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Attempts that ended and are in no sum yet, summed by the day of their end. Columns as in ``usage_days``."""
    day = (attempts.c.ended_at_ms // DAY_MS).label("day")
    task_count = sa.func.count(attempts.c.task_id.distinct()).label("tasks")
    keys = (attempts.c.tenant, attempts.c.type, day)
    return (
        sa.select(*keys, task_count, *_sums(attempts.c, USAGE_COLUMNS))
        .where(attempts.c.ended_at_ms.is_not(None), ~attempts.c.rolled_up, *conditions)
        .group_by(*keys)
    )


def _sums(columns: ReadOnlyColumnCollection[str, Any], names: Sequence[str]) -> list[sa.ColumnElement[Any]]:
    return [sa.func.sum(columns[name]).label(name) for name in names]
