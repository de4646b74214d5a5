"""Records as rows, and rows as records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import RowMapping

from sophia.nouns.errors import ErrorInfo, InvalidInput
from sophia.nouns.objects import object_keys
from sophia.nouns.task import Attempt, AttemptOutcome, Task, TaskRecord, TaskState
from sophia.nouns.usage import Usage
from sophia.store.tables import USAGE_COLUMNS

Row = dict[str, Any]

_EPOCH = date(1970, 1, 1)


def progress(record: TaskRecord) -> int:
    """Which of two records of the same millisecond is the later one: attempts only grow, end after they start, and
    a final state comes last."""
    ended = sum(attempt.ended_at_ms is not None for attempt in record.attempts)
    return 2 * (len(record.attempts) + ended) + record.state.is_final


def newest(records: Iterable[TaskRecord]) -> list[TaskRecord]:
    """One record per task, by id: a fixed order in which concurrent writers cannot block each other in a circle."""
    kept: dict[str, TaskRecord] = {}
    for record in records:
        known = kept.get(record.task.id)
        if known is None or _version(record) >= _version(known):
            kept[record.task.id] = record
    return [kept[task_id] for task_id in sorted(kept)]


def _version(record: TaskRecord) -> tuple[int, int]:
    return record.updated_at_ms, progress(record)


def task_row(record: TaskRecord) -> Row:
    task = record.task
    return {
        "id": task.id,
        "tenant": task.tenant,
        "type": task.type,
        "stream": task.route.stream,
        "priority": int(task.priority),
        "state": record.state.value,
        "submitted_at_ms": task.submitted_at_ms,
        "updated_at_ms": record.updated_at_ms,
        "due_at_ms": record.due_at_ms,
        "finished_at_ms": record.finished_at_ms,
        "cancel_requested": record.cancel_requested,
        "progress": progress(record),
        "error": _json(record.error),
        "durability": task.durability.value,
    }


def object_rows(record: TaskRecord) -> list[Row]:
    return [{"task_id": record.task.id, "object": key} for key in object_keys(record)]


def body_row(record: TaskRecord) -> Row:
    return {"task_id": record.task.id, "task": msgspec.json.encode(record.task).decode()}


def result_row(record: TaskRecord) -> Row:
    return {"task_id": record.task.id, "result": msgspec.json.encode(record.result).decode()}


def attempt_rows(record: TaskRecord) -> list[Row]:
    return [
        {
            "task_id": record.task.id,
            "number": attempt.number,
            "worker": attempt.worker,
            "pool": attempt.pool,
            "started_at_ms": attempt.started_at_ms,
            "ended_at_ms": attempt.ended_at_ms,
            "outcome": attempt.outcome.value,
            "error": _json(attempt.error),
            **{name: getattr(attempt.usage, name) for name in USAGE_COLUMNS},
        }
        for attempt in record.attempts
    ]


def record_of(row: RowMapping, attempts: Mapping[int, Attempt], result: str | None) -> TaskRecord:
    """From a row of ``tasks`` joined with ``bodies``."""
    return TaskRecord(
        task=msgspec.json.decode(row["task"], type=Task),
        state=msgspec.convert(row["state"], TaskState),
        attempts=tuple(attempts.values()),
        updated_at_ms=row["updated_at_ms"],
        due_at_ms=row["due_at_ms"],
        finished_at_ms=row["finished_at_ms"],
        result=None if result is None else msgspec.json.decode(result),
        error=_error(row["error"]),
        cancel_requested=row["cancel_requested"],
    )


def attempt_of(row: RowMapping) -> Attempt:
    return Attempt(
        number=row["number"],
        worker=row["worker"],
        pool=row["pool"],
        started_at_ms=row["started_at_ms"],
        ended_at_ms=row["ended_at_ms"],
        outcome=msgspec.convert(row["outcome"], AttemptOutcome),
        error=_error(row["error"]),
        usage=usage_of(row),
    )


def usage_of(row: RowMapping) -> Usage:
    return Usage(**{name: row[name] for name in USAGE_COLUMNS})


def day_number(day: str, field: str) -> int:
    """Days since the epoch of ``2026-01-31``. Raises ``InvalidInput`` naming ``field``."""
    try:
        return (datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).date() - _EPOCH).days
    except ValueError:
        raise InvalidInput(f"{day!r} is no day", field=field, mend="a UTC day such as 2026-01-31") from None


def day_name(number: int) -> str:
    return (_EPOCH + timedelta(days=number)).isoformat()


def _json(error: ErrorInfo | None) -> str | None:
    return None if error is None else msgspec.json.encode(error).decode()


def _error(text: str | None) -> ErrorInfo | None:
    return None if text is None else msgspec.json.decode(text, type=ErrorInfo)
