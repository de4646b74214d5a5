"""Transitions of a task as data: the record that shall replace the one that was read, and what goes with it.

In every step the record comes last. Whatever part of a step a dying server has kept, without the record it is not a
transition: index entries without their record are swept up, see ``docs/jetstream.md``.
"""

from __future__ import annotations

from typing import Any

import msgspec

from sophia.nouns.budget import Reservation
from sophia.nouns.errors import ErrorClass, ErrorInfo
from sophia.nouns.event import Event, EventKind
from sophia.nouns.task import Attempt, AttemptOutcome, Task, TaskRecord, TaskState
from sophia.nouns.usage import Usage
from sophia.queue.base import Settlement
from sophia.queue.budgets import rest_of
from sophia.queue.history import past_of
from sophia.queue.jetstream import names
from sophia.queue.jetstream.messages import Put
from sophia.queue.jetstream.record import Known, Record, encode_event, encode_record

_encode = msgspec.json.Encoder().encode
TOO_LATE = ErrorInfo(
    code="deadline_exceeded",
    message="it could not start before its deadline",
    error_class=ErrorClass.PERMANENT,
)


class Tenure(msgspec.Struct, frozen=True):
    """A lease's index entry: which attempt, and until when by the server's clock."""

    attempt: int
    until_ms: int


class Spending(msgspec.Struct, frozen=True):
    """What a step does to its tenant's account."""

    tenant: str
    day: str
    nano_usd: int = 0
    tokens: int = 0
    reserve_nano_usd: int = 0
    """Negative: given back."""
    reserve_tokens: int = 0
    task_id: str = ""
    number: int = 0
    """Which of its task's changes of the account this is, counted from 1."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """Its ``spending`` is numbered by whoever makes it."""

    before: Known | None
    after: Record
    puts: tuple[Put, ...]
    stale: tuple[int, ...] = ()
    """Index entries that are void once the step is made."""
    spending: Spending | None = None

    def numbered(self) -> Step:
        """The same, with its change of the account known to both the record and the account."""
        if self.spending is None:
            return self
        number = 1 + (0 if self.before is None else self.before.record.accounted)
        return msgspec.structs.replace(
            self,
            after=msgspec.structs.replace(self.after, accounted=number),
            spending=msgspec.structs.replace(self.spending, task_id=self.after.task.id, number=number),
        )

    def messages(self) -> list[Put]:
        expect = 0 if self.before is None else self.before.revision
        return [*self.puts, Put(names.record(self.after.task.id), encode_record(self.after), expect)]


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
    puts = [*_index(record), Put(names.event(task.id, 1), encode_event(record.first_event()))]
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
        updated_at_ms=_later(was, now_ms),
        events=was.events + 1,
    )
    data = {"attempt": record.attempt, "worker": worker, "pool": pool}
    event = _event(record, EventKind.TASK_RUNNING, data)
    return Step(before=known, after=record, puts=(hold(record, now_ms + lease_ms), event), stale=(entry,))


def hold(record: Record, until_ms: int, *, revision: int | None = None) -> Put:
    """A lease's index entry; with ``revision`` only while the record is still that one."""
    subject = names.lease(*_where(record), record.task.tenant, record.task.type, record.task.id)
    of = "" if revision is None else names.record(record.task.id)
    return Put(subject, _encode(Tenure(record.attempt, until_ms)), revision, of)


def miss_start(known: Known, now_ms: int, stale: tuple[int, ...]) -> Step:
    """It has not begun by its deadline."""
    return _finish(known, TaskState.FAILED, {"error": TOO_LATE}, now_ms, stale=stale, error=TOO_LATE)


def cancel_waiting(known: Known, reason: str, now_ms: int, stale: tuple[int, ...]) -> Step:
    return _finish(known, TaskState.CANCELLED, {"reason": reason}, now_ms, stale=stale, error=_cancelled(reason))


def ask_to_cancel(known: Known, reason: str, now_ms: int) -> Step:
    record = msgspec.structs.replace(known.record, cancel_reason=reason, updated_at_ms=_later(known.record, now_ms))
    return Step(before=known, after=record, puts=())


def promote(known: Known, now_ms: int, stale: tuple[int, ...]) -> Step:
    """What was scheduled or waited for its next attempt is due."""
    return _queue(known, now_ms, EventKind.TASK_QUEUED, {"from": known.record.state.value}, stale=stale)


def redrive(
    known: Known, now_ms: int, stale: tuple[int, ...], day: str = "", reserve: Reservation | None = None
) -> Step:
    """Admitted anew: ``day`` and ``reserve`` as at its submission."""
    task, held = known.record.task, reserve if day else None
    spending = Spending(task.tenant, day, 0, 0, held.nano_usd, held.tokens) if held else None
    step = _queue(
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
        step = _finish(ended, TaskState.CANCELLED, {"reason": reason}, now_ms, error=_cancelled(reason), new_event=True)
    elif was.counted >= was.task.max_attempts:
        step = _finish(ended, TaskState.DEAD, data, now_ms, error=error, new_event=True)
    else:
        data = {"attempt": was.attempt, "retry_in_s": 0, "error": error}
        step = _queue(ended, now_ms, EventKind.TASK_RETRYING, data, error=error, new_event=True)
    unless_extended = Put(names.taken_away(was.task.id), b"", entry, hold(was, 0).subject, ttl_s=1)
    return msgspec.structs.replace(step, puts=(unless_extended, *step.puts), stale=(entry,))


def settle(known: Known, settlement: Settlement, now_ms: int, newest_event: int, stale: tuple[int, ...]) -> Step:
    """End an attempt; the caller has seen that it is the current one."""
    was, usage = known.record, settlement.usage
    attempt = Attempt(
        number=was.attempt,
        worker=was.worker,
        pool=settlement.pool,
        started_at_ms=settlement.lease.leased_at_ms,
        # The server's start plus the worker's monotonic duration: workers' wall clocks may drift.
        ended_at_ms=settlement.lease.leased_at_ms + round(usage.run_s * 1000),
        outcome=settlement.outcome,
        error=settlement.error,
        usage=usage,
    )
    back_usd, back_tokens = min(was.held_nano_usd, usage.cost_nano_usd), min(was.held_tokens, usage.total_tokens)
    ended = Known(
        msgspec.structs.replace(
            was,
            events=newest_event,
            history=(*was.history, attempt),
            settled=settlement_mark(settlement),
            held_nano_usd=was.held_nano_usd - back_usd,
            held_tokens=was.held_tokens - back_tokens,
        ),
        known.revision,
    )
    step = _settled(ended, settlement, now_ms)
    spending = _sum(
        Spending(was.task.tenant, was.budget_day, usage.cost_nano_usd, usage.total_tokens, -back_usd, -back_tokens),
        step.spending,
    )
    return msgspec.structs.replace(step, stale=stale, spending=spending if was.budget_day else None)


def settlement_mark(settlement: Settlement) -> str:
    return f"{settlement.lease.attempt} {settlement.outcome.value} {settlement.lease.worker}"


def _settled(known: Known, settlement: Settlement, now_ms: int) -> Step:
    was, outcome, error = known.record, settlement.outcome, settlement.error
    data: dict[str, Any] = {"attempt": was.attempt, "usage": settlement.usage}
    if error is not None:
        data["error"] = error
    if was.cancel_reason is not None and outcome in (AttemptOutcome.RETRYING, AttemptOutcome.HANDED_BACK):
        outcome = AttemptOutcome.CANCELLED
    if outcome is AttemptOutcome.SUCCEEDED:
        return _finish(known, TaskState.SUCCEEDED, data, now_ms, error=None, new_event=True, result=settlement.result)
    if outcome is AttemptOutcome.FAILED:
        return _finish(known, TaskState.FAILED, data, now_ms, error=error, new_event=True)
    if outcome is AttemptOutcome.DEAD:
        return _finish(known, TaskState.DEAD, data, now_ms, error=error, new_event=True)
    if outcome is AttemptOutcome.CANCELLED:
        reason = was.cancel_reason or "cancelled"
        return _finish(known, TaskState.CANCELLED, {"reason": reason}, now_ms, error=_cancelled(reason), new_event=True)
    if outcome is AttemptOutcome.RETRYING:
        return _retry(known, settlement, data, now_ms)
    if outcome is AttemptOutcome.HANDED_BACK:
        data["from"] = "handed_back"
        return _queue(known, now_ms, EventKind.TASK_QUEUED, data, new_event=True, counted=was.counted - 1)
    raise ValueError(f"an attempt cannot end as {outcome.value}")


def _retry(known: Known, settlement: Settlement, data: dict[str, Any], now_ms: int) -> Step:
    record = msgspec.structs.replace(
        known.record,
        state=TaskState.RETRYING,
        worker="",
        error=settlement.error,
        due_at_ms=now_ms + max(0, round(settlement.retry_in_s * 1000)),
        updated_at_ms=_later(known.record, now_ms),
        events=known.record.events + 1,
    )
    event = _event(record, EventKind.TASK_RETRYING, {**data, "retry_in_s": settlement.retry_in_s}, new_event=True)
    return Step(before=known, after=record, puts=(*_index(record), event))


def _queue(
    known: Known,
    now_ms: int,
    kind: EventKind,
    data: dict[str, Any],
    *,
    stale: tuple[int, ...] = (),
    new_event: bool = False,
    **changes: Any,
) -> Step:
    record = msgspec.structs.replace(
        known.record,
        state=TaskState.QUEUED,
        worker="",
        due_at_ms=None,
        updated_at_ms=_later(known.record, now_ms),
        events=known.record.events + 1,
        **changes,
    )
    event = _event(record, kind, data, new_event=new_event)
    return Step(before=known, after=record, puts=(*_index(record), event), stale=stale)


def _finish(
    known: Known,
    state: TaskState,
    data: dict[str, Any],
    now_ms: int,
    *,
    error: ErrorInfo | None,
    stale: tuple[int, ...] = (),
    new_event: bool = False,
    result: Any = None,
) -> Step:
    """A final state. What is left of its reservation is given back."""
    was = known.record
    record = msgspec.structs.replace(
        was,
        state=state,
        worker="",
        due_at_ms=None,
        cancel_reason=None,
        finished_at_ms=now_ms,
        updated_at_ms=_later(was, now_ms),
        result=result,
        error=error,
        held_nano_usd=0,
        held_tokens=0,
        events=was.events + 1,
    )
    spending = None
    if was.budget_day:
        spending = Spending(was.task.tenant, was.budget_day, 0, 0, -was.held_nano_usd, -was.held_tokens)
    event = _event(record, EventKind(f"task.{state.value}"), data, new_event=new_event)
    return Step(before=known, after=record, puts=(*_index(record), event), stale=stale, spending=spending)


def _later(was: Record, now_ms: int) -> int:
    """After the version before it: clients only estimate the server's time, and the ledger keeps the newest version."""
    return max(now_ms, was.updated_at_ms + 1)


def _index(record: Record) -> list[Put]:
    task = record.task
    if record.state is TaskState.QUEUED:
        # The lane's entry comes after the task's: who finds the lane empty may take the lane's entry away.
        return [
            Put(names.waiting(*_where(record), record.lane, task.id)),
            Put(names.active(*_where(record), record.lane)),
            *_start_by(record),
        ]
    if record.due_at_ms is not None:
        subject = names.due(record.state.value, *_where(record), record.due_at_ms, task.id)
        return [Put(subject, str(record.due_at_ms).encode()), *_start_by(record)]
    if record.state is TaskState.DEAD:
        return [Put(names.dead(*_where(record), task.tenant, task.id))]
    return []


def _start_by(record: Record) -> list[Put]:
    """In the minute of its deadline, or in this one when that is over: no earlier minute is looked at again."""
    deadline_ms = record.task.deadline_at_ms
    if deadline_ms is None:
        return []
    subject = names.start_by(max(deadline_ms, record.updated_at_ms), record.task.id)
    return [Put(subject, str(deadline_ms).encode())]


def _event(record: Record, kind: EventKind, data: dict[str, Any], *, new_event: bool = False) -> Put:
    """``new_event``: its worker may be writing events too, so the number must not be taken."""
    event = Event(
        kind=kind,
        at_ms=record.updated_at_ms,
        subject=record.task.id,
        tenant=record.task.tenant,
        seq=record.events,
        data=data,
    )
    return Put(names.event(record.task.id, record.events), encode_event(event), 0 if new_event else None)


def _where(record: Record) -> tuple[str, int]:
    return record.task.route.stream, int(record.task.priority)


def _cancelled(reason: str) -> ErrorInfo:
    return ErrorInfo(code="cancelled", message=reason)


def _sum(first: Spending, second: Spending | None) -> Spending:
    if second is None:
        return first
    return msgspec.structs.replace(
        first,
        reserve_nano_usd=first.reserve_nano_usd + second.reserve_nano_usd,
        reserve_tokens=first.reserve_tokens + second.reserve_tokens,
    )


def usage_of(record: Record) -> Usage:
    """What earlier attempts have spent."""
    return record.spent
