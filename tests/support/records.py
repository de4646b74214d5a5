"""Task records for tests."""

from __future__ import annotations

from typing import Any

from sophia.nouns.task import Attempt, AttemptOutcome, Task, TaskRecord, TaskState
from sophia.nouns.usage import Usage
from tests.support.tasks import make_task

START_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z."""


def attempt(number: int = 1, ended_at_ms: int | None = None, **changes: Any) -> Attempt:
    fields: dict[str, Any] = {"number": number, "worker": "worker-1", "started_at_ms": START_MS, **changes}
    if ended_at_ms is not None:
        fields = {"outcome": AttemptOutcome.SUCCEEDED, **fields, "ended_at_ms": ended_at_ms}
    return Attempt(**fields)


def queued(task: Task | None = None, at_ms: int = START_MS) -> TaskRecord:
    return TaskRecord(task=task or make_task(submitted_at_ms=at_ms), state=TaskState.QUEUED, updated_at_ms=at_ms)


def finished(task: Task | None = None, at_ms: int = START_MS, usage: Usage | None = None) -> TaskRecord:
    """Succeeded in one attempt that ended at ``at_ms``."""
    return TaskRecord(
        task=task or make_task(submitted_at_ms=at_ms),
        state=TaskState.SUCCEEDED,
        attempts=(attempt(ended_at_ms=at_ms, usage=usage or Usage(cost_nano_usd=1)),),
        updated_at_ms=at_ms,
        finished_at_ms=at_ms,
        result={"text": "done"},
    )
