"""Statements that need the dialect's own ``INSERT … ON CONFLICT``."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from sophia.store.engine import Dialect
from sophia.store.sums import SUMMED
from sophia.store.tables import attempts, bodies, claims, instances, marks, objects, results, tasks, usage_days

Insert = postgresql.Insert | sqlite.Insert

# The other columns never change, and an index entry that stays costs nothing.
_CHANGING = ("state", "updated_at_ms", "due_at_ms", "finished_at_ms", "cancel_requested", "progress", "error")


class Statements:
    """Built once for a dialect; their parameters are rows of ``rows`` and ``sums``."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        insert = self._insert(tasks)
        new, old = insert.excluded, tasks.c
        self.upsert_task = insert.on_conflict_do_update(
            index_elements=["id"],
            set_={name: new[name] for name in _CHANGING},
            where=sa.tuple_(new.updated_at_ms, new.progress) >= sa.tuple_(old.updated_at_ms, old.progress),
        ).returning(tasks.c.id)
        """Returns the ids that were taken; the others are known in a newer version."""
        self.insert_body = self._insert(bodies).on_conflict_do_nothing(index_elements=["task_id"])
        self.insert_object = self._insert(objects).on_conflict_do_nothing(index_elements=["task_id", "object"])
        insert = self._insert(claims)
        self.claim = insert.on_conflict_do_update(
            index_elements=["tenant", "key"],
            set_={name: insert.excluded[name] for name in ("task_id", "request_hash", "expires_at_ms")},
            where=claims.c.expires_at_ms <= sa.bindparam("now_ms", type_=sa.BigInteger),
        )
        """An expired claim is anybody's."""
        self.upsert_result = self._upsert(results, "task_id")
        self.upsert_attempt = self._upsert(attempts, "task_id", "number")
        self.upsert_instance = self._upsert(instances, "id")
        insert = self._insert(usage_days)
        self.add_usage = insert.on_conflict_do_update(
            index_elements=["day", "tenant", "type"],
            set_={name: usage_days.c[name] + insert.excluded[name] for name in SUMMED},
        )
        insert = self._insert(marks)
        self.raise_mark = insert.on_conflict_do_update(
            index_elements=["name"],
            set_={"value": insert.excluded.value},
            where=insert.excluded.value > marks.c.value,
        )

    def _insert(self, table: sa.Table) -> Insert:
        return sqlite.insert(table) if self._dialect == "sqlite" else postgresql.insert(table)

    def _upsert(self, table: sa.Table, *keys: str) -> Insert:
        insert = self._insert(table)
        changing: Sequence[str] = [column.name for column in table.columns if column.name not in keys]
        return insert.on_conflict_do_update(
            index_elements=keys, set_={name: insert.excluded[name] for name in changing}
        )
