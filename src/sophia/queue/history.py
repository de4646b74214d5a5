"""What a task that the queue has lost brings along when it is queued again."""

from __future__ import annotations

import msgspec

from sophia.nouns.errors import ErrorClass, ErrorInfo
from sophia.nouns.task import Attempt, AttemptOutcome, TaskRecord

_COUNTED = frozenset({AttemptOutcome.RETRYING, AttemptOutcome.LOST})
_LOST = ErrorInfo(
    code="queue_lost", message="the queue was lost while this attempt ran", error_class=ErrorClass.RETRYABLE
)


class Past(msgspec.Struct, frozen=True):
    attempts: tuple[Attempt, ...]
    """All of them ended."""
    number: int
    """Of the last attempt; 0 without any."""
    counted: int
    """Attempts that count against ``max_attempts``; at least one more is left."""


def past_of(record: TaskRecord) -> Past:
    attempts = tuple(_ended(attempt, record.updated_at_ms) for attempt in record.attempts)
    counted = sum(attempt.outcome in _COUNTED and attempt.error != _LOST for attempt in attempts)
    return Past(
        attempts=attempts,
        number=max((attempt.number for attempt in attempts), default=0),
        counted=min(counted, record.task.max_attempts - 1),
    )


def _ended(attempt: Attempt, at_ms: int) -> Attempt:
    if attempt.ended_at_ms is not None:
        return attempt
    return msgspec.structs.replace(
        attempt, ended_at_ms=max(at_ms, attempt.started_at_ms), outcome=AttemptOutcome.LOST, error=_LOST
    )
