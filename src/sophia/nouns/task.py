"""Tasks, their states and their attempts."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Any

import msgspec

from sophia.nouns.budget import Budget, Reservation
from sophia.nouns.errors import ErrorInfo
from sophia.nouns.usage import Usage


class TaskType(StrEnum):
    LONG_PLANNING = "long_planning"
    CODE_GENERATION = "code_generation"
    BATCH_EMBEDDING = "batch_embedding"
    WEB_RESEARCH = "web_research"
    LIGHT = "light"
    OPENAI_BATCH = "openai_batch"
    """Lines of a batch's input file: the platform's own, nobody else can submit it."""


class Tier(StrEnum):
    FAST = "fast"
    BALANCED = "balanced"
    QUALITY = "quality"


class Priority(IntEnum):
    """Lower is served first."""

    CRITICAL = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3

    @property
    def label(self) -> str:
        return self.name.lower()


class Durability(StrEnum):
    """What an accepted task survives: a crash of the queue's server, or its loss together with its disk."""

    QUEUE = "queue"
    LEDGER = "ledger"


class Target(StrEnum):
    CPU = "cpu"
    GPU = "gpu"
    HOSTED = "hosted"


class TaskState(StrEnum):
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DEAD = "dead"

    @property
    def is_final(self) -> bool:
        return self in FINAL_STATES


FINAL_STATES = frozenset({TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.DEAD})


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Where a task waits and what runs it. ``stream`` is a route name such as ``planning``."""

    stream: str
    target: Target
    reason: str


class Task(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An immutable request. Times are milliseconds since the epoch, UTC."""

    id: str
    type: str
    payload: dict[str, Any]
    route: Route
    submitted_at_ms: int
    tenant: str = "default"
    tier: Tier = Tier.FAST
    priority: Priority = Priority.NORMAL
    budget: Budget = Budget()
    run_at_ms: int | None = None
    """Not before this time."""
    deadline_at_ms: int | None = None
    """An attempt that cannot start by this time fails with ``deadline_exceeded``."""
    timeout_s: float | None = None
    """Longest run of one attempt; over it the attempt fails with ``timed_out``."""
    max_attempts: int = 3
    idempotency_key: str | None = None
    labels: dict[str, str] = {}
    reserved: Reservation | None = None
    """Held of the tenant's budgets, where it has any."""
    durability: Durability = Durability.QUEUE


class AttemptOutcome(StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RETRYING = "retrying"
    CANCELLED = "cancelled"
    HANDED_BACK = "handed_back"
    """Returned by a draining worker; does not count against ``max_attempts``."""
    LOST = "lost"
    """Its worker stopped extending the lease."""
    DEAD = "dead"


class Attempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One execution of a task. ``number`` rises by one with every execution and fences late results."""

    number: int
    worker: str
    pool: str = ""
    started_at_ms: int
    ended_at_ms: int | None = None
    outcome: AttemptOutcome = AttemptOutcome.RUNNING
    error: ErrorInfo | None = None
    usage: Usage = Usage()


class TaskRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A task with everything that happened to it so far."""

    task: Task
    state: TaskState
    attempts: tuple[Attempt, ...] = ()
    updated_at_ms: int
    due_at_ms: int | None = None
    """When a scheduled or retrying task becomes due."""
    finished_at_ms: int | None = None
    result: Any = None
    error: ErrorInfo | None = None
    cancel_requested: bool = False

    @property
    def usage(self) -> Usage:
        total = Usage()
        for attempt in self.attempts:
            total += attempt.usage
        return total
