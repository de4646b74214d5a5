"""The transitions of a task, each as one step; how an attempt is settled is in ``settling``.

In every step the record comes last. Whatever part of a step a dying server has kept, without the record it is not a
transition: index entries without their record are swept up, see ``docs/jetstream.md``.
"""

from __future__ import annotations

from typing import Any

import msgspec

from sophia.nouns.budget import Reservation
from sophia.nouns.errors import ErrorClass, ErrorInfo
from sophia.nouns.event import EventKind
from sophia.nouns.task import Attempt, AttemptOutcome, Task, TaskRecord, TaskState
from sophia.queue.budgets import rest_of
from sophia.queue.history import past_of
from sophia.queue.jetstream import names
from sophia.queue.jetstream.messages import Put
from sophia.queue.jetstream.record import Known, Record, encode_event
from sophia.queue.jetstream.step import Spending, Step, Tenure, cancelled, event_of, finish, index, later, queue, where

_encode = msgspec.json.Encoder().encode
TOO_LATE = ErrorInfo(
    code="deadline_exceeded",
    message="it could not start before its deadline",
    error_class=ErrorClass.PERMANENT,
)


def accept(task: Task, now_ms: int, lane: str, day: str, reserve: Reservation | None = None) -> Step:
    """``day``: of the budgets that it reserves of; empty without any."""
    later = task.run_at_ms is not None and task.run_at_ms > now_ms
    reserved = reserve if day else None
    record = Record(
        task=task,
        state=TaskState.SCHEDULED if later else TaskState.QUEUED,
        accepted_at_ms=now_ms,
        updated_at_ms=now_ms,
        due_at_ms=task.run_at_ms if later else None,
        lane=lane,
        budget_day=day if reserved else "",
        held_nano_usd=reserved.nano_usd if reserved else 0,
        held_tokens=reserved.tokens if reserved else 0,
    )
    puts = [*index(record), Put(names.event(task.id, 1), encode_event(record.first_event()))]
    spending = None
    if reserved is not None:
        spending = Spending(task.tenant, day, 0, 0, reserved.nano_usd, reserved.tokens)
    return Step(before=None, after=record, puts=tuple(puts), spending=spending)


def restore(lost: TaskRecord, now_ms: int, lane: str, day: str) -> Step:
    """Accept a task again that the server has lost, with its past."""
    task, past = lost.task, past_of(lost)
    due = msgspec.structs.replace(task, run_at_ms=lost.due_at_ms or task.run_at_ms)
    step = accept(due, now_ms, lane, day, rest_of(task.reserved, lost.usage))
    record = msgspec.structs.replace(
        step.after, task=task, attempt=past.number, counted=past.counted, history=past.attempts
    )
    return msgspec.structs.replace(step, after=record)


def begin(known: Known, worker: str, pool: str, now_ms: int, lease_ms: int, entry: int) -> Step:
    was = known.record
    record = msgspec.structs.replace(
        was,
        state=TaskState.RUNNING,
        attempt=was.attempt + 1,
        counted=was.counted + 1,
        worker=worker,
        pool=pool,
        started_at_ms=now_ms,
        updated_at_ms=later(was, now_ms),
        events=was.events + 1,
    )
    data = {"attempt": record.attempt, "worker": worker, "pool": pool}
    event = event_of(record, EventKind.TASK_RUNNING, data)
    return Step(before=known, after=record, puts=(hold(record, now_ms + lease_ms), event), stale=(entry,))


def hold(record: Record, until_ms: int, *, revision: int | None = None) -> Put:
    """A lease's index entry; with ``revision`` only while the record is still that one."""
    subject = names.lease(*where(record), record.task.tenant, record.task.type, record.task.id)
    of = "" if revision is None else names.record(record.task.id)
    return Put(subject, _encode(Tenure(record.attempt, until_ms)), revision, of)


def miss_start(known: Known, now_ms: int, stale: tuple[int, ...]) -> Step:
    """It has not begun by its deadline."""
    return finish(known, TaskState.FAILED, {"error": TOO_LATE}, now_ms, stale=stale, error=TOO_LATE)


def cancel_waiting(known: Known, reason: str, now_ms: int, stale: tuple[int, ...]) -> Step:
    return finish(known, TaskState.CANCELLED, {"reason": reason}, now_ms, stale=stale, error=cancelled(reason))


def ask_to_cancel(known: Known, reason: str, now_ms: int) -> Step:
    record = msgspec.structs.replace(known.record, cancel_reason=reason, updated_at_ms=later(known.record, now_ms))
    return Step(before=known, after=record, puts=())


def promote(known: Known, now_ms: int, stale: tuple[int, ...]) -> Step:
    """What was scheduled or waited for its next attempt is due."""
    return queue(known, now_ms, EventKind.TASK_QUEUED, {"from": known.record.state.value}, stale=stale)


def redrive(
    known: Known, now_ms: int, stale: tuple[int, ...], day: str = "", reserve: Reservation | None = None
) -> Step:
    """Admitted anew: ``day`` and ``reserve`` as at its submission."""
    task, held = known.record.task, reserve if day else None
    spending = Spending(task.tenant, day, 0, 0, held.nano_usd, held.tokens) if held else None
    step = queue(
        known,
        now_ms,
        EventKind.TASK_QUEUED,
        {"from": "dead"},
        stale=stale,
        counted=0,
        error=None,
        finished_at_ms=None,
        budget_day=day if held else "",
        held_nano_usd=held.nano_usd if held else 0,
        held_tokens=held.tokens if held else 0,
    )
    return msgspec.structs.replace(step, spending=spending)


def lose(known: Known, now_ms: int, newest_event: int, entry: int) -> Step:
    """Its worker has let the lease end. Refused when the worker extends it or emits meanwhile."""
    was = known.record
    error = ErrorInfo(
        code="worker_lost", message=f"worker {was.worker} stopped answering", error_class=ErrorClass.RETRYABLE
    )
    attempt = Attempt(
        number=was.attempt,
        worker=was.worker,
        pool=was.pool,
        started_at_ms=was.started_at_ms,
        ended_at_ms=now_ms,
        outcome=AttemptOutcome.LOST,
        error=error,
    )
    ended = Known(msgspec.structs.replace(was, events=newest_event, history=(*was.history, attempt)), known.revision)
    data: dict[str, Any] = {"attempt": was.attempt, "error": error}
    if was.cancel_reason is not None:
        reason = was.cancel_reason
        step = finish(ended, TaskState.CANCELLED, {"reason": reason}, now_ms, error=cancelled(reason), new_event=True)
    elif was.counted >= was.task.max_attempts:
        step = finish(ended, TaskState.DEAD, data, now_ms, error=error, new_event=True)
    else:
        data = {"attempt": was.attempt, "retry_in_s": 0, "error": error}
        step = queue(ended, now_ms, EventKind.TASK_RETRYING, data, error=error, new_event=True)
    unless_extended = Put(names.taken_away(was.task.id), b"", entry, hold(was, 0).subject, ttl_s=1)
    return msgspec.structs.replace(step, puts=(unless_extended, *step.puts), stale=(entry,))
