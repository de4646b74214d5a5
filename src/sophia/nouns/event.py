"""Published facts. A task's events form a log that can be resumed from any of its cursors."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec


class EventKind(StrEnum):
    TASK_SCHEDULED = "task.scheduled"
    TASK_QUEUED = "task.queued"
    TASK_RUNNING = "task.running"
    TASK_PROGRESS = "task.progress"
    TASK_OUTPUT = "task.output"
    TASK_RETRYING = "task.retrying"
    TASK_SUCCEEDED = "task.succeeded"
    TASK_FAILED = "task.failed"
    TASK_CANCELLED = "task.cancelled"
    TASK_DEAD = "task.dead"
    INSTANCE_CHANGED = "pool.instance"
    POOL_CHANGED = "pool.changed"
    POOL_ORDERED = "pool.ordered"
    QUEUE_CHANGED = "queue.changed"
    KEYS_CHANGED = "keys.changed"


FINAL_EVENT_KINDS = frozenset(
    {EventKind.TASK_SUCCEEDED, EventKind.TASK_FAILED, EventKind.TASK_CANCELLED, EventKind.TASK_DEAD}
)


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One fact.

    ``cursor`` orders events of the whole platform (empty when read from one task's log);
    ``seq`` counts from 1 within one task's log.
    """

    kind: EventKind
    at_ms: int
    subject: str
    """Task id, ``pool/instance`` id, or stream name."""
    data: dict[str, Any] = {}
    tenant: str = ""
    """Empty for facts of the platform that every tenant may see."""
    seq: int = 0
    cursor: str = ""

    @property
    def topic(self) -> str:
        """``tasks``, ``pools``, ``queue`` or ``keys`` (which only gateways follow)."""
        return {"task": "tasks", "pool": "pools", "queue": "queue", "keys": "keys"}[self.kind.partition(".")[0]]
