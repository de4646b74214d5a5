"""One transition of a task as data: the record that shall replace the one that was read, and what goes with it."""

from __future__ import annotations

from typing import Any

import msgspec

from sophia.nouns.errors import ErrorInfo
from sophia.nouns.event import Event, EventKind
from sophia.nouns.task import TaskState
from sophia.queue.jetstream import names
from sophia.queue.jetstream.messages import Put
from sophia.queue.jetstream.record import Known, Record, encode_event, encode_record


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


def queue(
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
        updated_at_ms=later(known.record, now_ms),
        events=known.record.events + 1,
        **changes,
    )
    event = event_of(record, kind, data, new_event=new_event)
    return Step(before=known, after=record, puts=(*index(record), event), stale=stale)


def finish(
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
        updated_at_ms=later(was, now_ms),
        result=result,
        error=error,
        held_nano_usd=0,
        held_tokens=0,
        events=was.events + 1,
    )
    spending = None
    if was.budget_day:
        spending = Spending(was.task.tenant, was.budget_day, 0, 0, -was.held_nano_usd, -was.held_tokens)
    event = event_of(record, EventKind(f"task.{state.value}"), data, new_event=new_event)
    return Step(before=known, after=record, puts=(*index(record), event), stale=stale, spending=spending)


def later(was: Record, now_ms: int) -> int:
    """After the version before it: clients only estimate the server's time, and the ledger keeps the newest version."""
    return max(now_ms, was.updated_at_ms + 1)


def index(record: Record) -> list[Put]:
    task = record.task
    if record.state is TaskState.QUEUED:
        # The lane's entry comes after the task's: who finds the lane empty may take the lane's entry away.
        return [
            Put(names.waiting(*where(record), record.lane, task.id)),
            Put(names.active(*where(record), record.lane)),
            *_start_by(record),
        ]
    if record.due_at_ms is not None:
        subject = names.due(record.state.value, *where(record), record.due_at_ms, task.id)
        return [Put(subject, str(record.due_at_ms).encode()), *_start_by(record)]
    if record.state is TaskState.DEAD:
        return [Put(names.dead(*where(record), task.tenant, task.id))]
    return []


def _start_by(record: Record) -> list[Put]:
    """In the minute of its deadline, or in this one when that is over: no earlier minute is looked at again."""
    deadline_ms = record.task.deadline_at_ms
    if deadline_ms is None:
        return []
    subject = names.start_by(max(deadline_ms, record.updated_at_ms), record.task.id)
    return [Put(subject, str(deadline_ms).encode())]


def event_of(record: Record, kind: EventKind, data: dict[str, Any], *, new_event: bool = False) -> Put:
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


def where(record: Record) -> tuple[str, int]:
    return record.task.route.stream, int(record.task.priority)


def cancelled(reason: str) -> ErrorInfo:
    return ErrorInfo(code="cancelled", message=reason)
