"""A task's record as the stream holds it. Whoever replaces it by compare-and-set has made the transition."""

from __future__ import annotations

from typing import Any

import msgspec

from sophia.nouns.errors import ErrorInfo
from sophia.nouns.event import Event, EventKind
from sophia.nouns.task import FINAL_STATES, Attempt, Task, TaskRecord, TaskState
from sophia.nouns.usage import Usage
from sophia.queue.jetstream.messages import Stored
from sophia.queue.submission import submission_data


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    task: Task
    state: TaskState
    accepted_at_ms: int
    updated_at_ms: int
    attempt: int = 0
    """Rises with every execution: the fence."""
    counted: int = 0
    """Attempts that count against ``max_attempts``."""
    events: int = 1
    """``seq`` of the event of the last transition; while it runs, its worker appends more."""
    history: tuple[Attempt, ...] = ()
    worker: str = ""
    pool: str = ""
    started_at_ms: int = 0
    due_at_ms: int | None = None
    finished_at_ms: int | None = None
    result: Any = None
    error: ErrorInfo | None = None
    cancel_reason: str | None = None
    lane: str = ""
    """What it waits in line with: see ``names``."""
    budget_day: str = ""
    """The UTC day whose budgets it holds ``reserved`` of; empty when it was admitted without any."""
    held_nano_usd: int = 0
    held_tokens: int = 0
    accounted: int = 0
    """How often it has changed its tenant's account."""
    settled: str = ""
    """Attempt, outcome and worker of the last settlement: repeating it is recognised."""

    @property
    def is_waiting(self) -> bool:
        return self.state in (TaskState.QUEUED, TaskState.SCHEDULED, TaskState.RETRYING)

    @property
    def spent(self) -> Usage:
        total = Usage()
        for attempt in self.history:
            total += attempt.usage
        return total

    def held_by(self, worker: str, attempt: int) -> bool:
        return self.state is TaskState.RUNNING and self.worker == worker and self.attempt == attempt

    def public(self) -> TaskRecord:
        attempts = self.history
        if self.state is TaskState.RUNNING:
            running = Attempt(number=self.attempt, worker=self.worker, pool=self.pool, started_at_ms=self.started_at_ms)
            attempts = (*attempts, running)
        return TaskRecord(
            task=self.task,
            state=self.state,
            attempts=attempts,
            updated_at_ms=self.updated_at_ms,
            due_at_ms=self.due_at_ms,
            finished_at_ms=self.finished_at_ms,
            result=self.result,
            error=self.error,
            cancel_requested=self.cancel_reason is not None and self.state not in FINAL_STATES,
        )

    def first_event(self) -> Event:
        later = self.task.run_at_ms is not None and self.task.run_at_ms > self.accepted_at_ms
        return Event(
            kind=EventKind.TASK_SCHEDULED if later else EventKind.TASK_QUEUED,
            at_ms=self.accepted_at_ms,
            subject=self.task.id,
            tenant=self.task.tenant,
            seq=1,
            data=submission_data(self.task),
        )


class Known(msgspec.Struct, frozen=True):
    """A record and the revision at which it was read."""

    record: Record
    revision: int


_encode = msgspec.json.Encoder().encode
_record = msgspec.json.Decoder(Record)
_event = msgspec.json.Decoder(Event)


def encode_record(record: Record) -> bytes:
    return _encode(record)


def decode_record(stored: Stored) -> Known:
    return Known(_record.decode(stored.data), stored.seq)


def encode_event(event: Event) -> bytes:
    return _encode(event)


def decode_event(stored: Stored) -> Event:
    return _event.decode(stored.data)


def event_seq(stored: Stored) -> int:
    """The ``seq`` in the subject of a task's event."""
    return int(stored.subject.rpartition(".")[2])
