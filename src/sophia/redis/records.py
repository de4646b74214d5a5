"""Task records as Redis holds them, and back. Field names are short because every queued task pays for them."""

from __future__ import annotations

from typing import Any

import msgspec

from sophia.nouns.errors import ErrorInfo
from sophia.nouns.event import Event, EventKind
from sophia.nouns.task import Attempt, Priority, Task, TaskRecord, TaskState
from sophia.nouns.usage import Usage
from sophia.queue.submission import submission_data
from sophia.redis.bodies import unpack

_error = msgspec.json.Decoder(ErrorInfo)
_attempts = msgspec.json.Decoder(tuple[Attempt, ...])


def decode_record(fields: list[bytes]) -> TaskRecord | None:
    """A flat list of a record's fields (``get.lua``) as a ``TaskRecord``; ``None`` when it is gone."""
    r = dict(zip(fields[::2], fields[1::2], strict=True))
    body = r.get(b"b")
    if b"s" not in r or not body:
        return None
    state = TaskState(r[b"s"].decode())
    attempts = _attempts.decode(b"[" + r.get(b"h", b"") + b"]")
    if state is TaskState.RUNNING:
        attempts = (
            *attempts,
            Attempt(
                number=int(r[b"a"]),
                worker=r[b"w"].decode(),
                pool=r.get(b"pl", b"").decode(),
                started_at_ms=int(r[b"st"]),
            ),
        )
    return TaskRecord(
        task=unpack(body),
        state=state,
        attempts=attempts,
        updated_at_ms=int(r.get(b"u") or r[b"at"]),
        due_at_ms=_int(r.get(b"due")),
        finished_at_ms=_int(r.get(b"f")),
        result=msgspec.json.decode(r[b"res"]) if r.get(b"res") else None,
        error=_error.decode(r[b"err"]) if r.get(b"err") else None,
        cancel_requested=b"x" in r,
    )


def spent(history: bytes) -> Usage:
    """Usage of the attempts in a record's history."""
    total = Usage()
    for attempt in _attempts.decode(b"[" + history + b"]") if history else ():
        total += attempt.usage
    return total


def first_event(record: TaskRecord, accepted_at_ms: int) -> Event:
    """The event of a task's submission, which its log leaves to the record."""
    later = record.task.run_at_ms is not None and record.task.run_at_ms > accepted_at_ms
    return Event(
        kind=EventKind.TASK_SCHEDULED if later else EventKind.TASK_QUEUED,
        at_ms=accepted_at_ms,
        subject=record.task.id,
        tenant=record.task.tenant,
        seq=1,
        data=submission_data(record.task),
    )


def packed_submission(task: Task) -> list[Any]:
    """``submission_data`` without its names, which every queued task would pay for in the platform's log."""
    route = task.route
    due = () if task.run_at_ms is None else (task.run_at_ms,)
    return [task.type, int(task.priority), route.stream, route.target, route.reason, *due]


def unpacked_submission(packed: list[Any]) -> dict[str, Any]:
    kind, priority, stream, target, reason, *due = packed
    data: dict[str, Any] = {
        "type": kind,
        "priority": Priority(priority).label,
        "route": {"stream": stream, "target": target, "reason": reason},
    }
    return {**data, "due_at_ms": due[0]} if due else data


def _int(value: bytes | None) -> int | None:
    return None if value is None else int(value)
