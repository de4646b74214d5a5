"""Usage by tenant, task type and UTC day, kept up with every record instead of summed anew by every question.

Sums live on when their tasks are pruned.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sophia.nouns.task import Attempt, TaskRecord
from sophia.store.tables import USAGE_COLUMNS

DAY_MS = 86_400_000

SUMMED = ("tasks", *USAGE_COLUMNS)

Known = Mapping[str, Mapping[int, Attempt]]
"""Attempts by task and number."""


class Cell(NamedTuple):
    day: int
    """Since the epoch."""
    tenant: str
    type: str


def changes(records: Iterable[TaskRecord], known: Known, counted_through_ms: int | None) -> list[dict[str, Any]]:
    """What to add to the sums when ``records`` take the place of the ``known`` attempts: rows of ``usage_days``, in
    the order of their keys, so that concurrent writers cannot block each other in a circle.

    An attempt that is not known but ended by ``counted_through_ms`` was counted before its task was pruned;
    ``None``: none was pruned yet.
    """
    added: dict[Cell, dict[str, Any]] = defaultdict(lambda: dict.fromkeys(SUMMED, 0))
    for record in records:
        before = dict(known.get(record.task.id, {}))
        for new in record.attempts:
            if new.number not in before and _ended_by(new, counted_through_ms):
                before[new.number] = new
        after = {**before, **{new.number: new for new in record.attempts}}
        for number, new in after.items():
            old = before.get(number)
            if old != new:
                _add(added, record, old, -1)
                _add(added, record, new, +1)
        days_before, days_after = _days(before.values()), _days(after.values())
        for day in days_before ^ days_after:
            added[_cell(record, day)]["tasks"] += 1 if day in days_after else -1
    return [{**cell._asdict(), **sums} for cell, sums in sorted(added.items()) if any(sums.values())]


def _ended_by(attempt: Attempt, time_ms: int | None) -> bool:
    return time_ms is not None and attempt.ended_at_ms is not None and attempt.ended_at_ms <= time_ms


def _add(added: dict[Cell, dict[str, Any]], record: TaskRecord, attempt: Attempt | None, sign: int) -> None:
    if attempt is not None and attempt.ended_at_ms is not None:
        sums = added[_cell(record, attempt.ended_at_ms // DAY_MS)]
        for name in USAGE_COLUMNS:
            sums[name] += sign * getattr(attempt.usage, name)


def _cell(record: TaskRecord, day: int) -> Cell:
    return Cell(day, record.task.tenant, record.task.type)


def _days(attempts: Iterable[Attempt]) -> set[int]:
    return {attempt.ended_at_ms // DAY_MS for attempt in attempts if attempt.ended_at_ms is not None}
