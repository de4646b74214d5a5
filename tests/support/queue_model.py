"""The queue as a small model: what every call of the contract must answer and leave behind."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from sophia.nouns.task import AttemptOutcome, Task, TaskState
from sophia.queue.base import Lease, Settlement, UpkeepReport

WAITING = (TaskState.QUEUED, TaskState.SCHEDULED, TaskState.RETRYING)
FINAL_BY_OUTCOME = {
    AttemptOutcome.SUCCEEDED: TaskState.SUCCEEDED,
    AttemptOutcome.FAILED: TaskState.FAILED,
    AttemptOutcome.CANCELLED: TaskState.CANCELLED,
    AttemptOutcome.DEAD: TaskState.DEAD,
}


@dataclass
class ModelTask:
    """One task. Times are seconds of the model's clock."""

    task: Task
    state: TaskState
    number: int
    """Order of submission."""
    due: float | None = None
    start_by: float | None = None
    attempt: int = 0
    counted: int = 0
    worker: str = ""
    leased_until: float = 0.0
    undelivered_until: float | None = None
    """Delivered to a worker that died before the attempt began; found again after this time."""
    fresh: bool = True
    """Not moved since its submission, so first in, first out holds for it."""
    cancel_requested: bool = False
    outcomes: list[AttemptOutcome] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    cost: int = 0
    applied: Settlement | None = None
    """The latest settlement that was applied."""
    result: object = None
    error: str | None = None

    def becomes(self, state: TaskState, kind: str | None = None) -> None:
        self.state = state
        self.kinds.append(kind or f"task.{state.value}")
        self.due = None
        if state.is_final:
            self.cancel_requested = False
            self.undelivered_until = None

    def waits_again(self, kind: str) -> None:
        self.becomes(TaskState.QUEUED, kind)
        self.fresh = False


class QueueModel:
    def __init__(self, lease_s: float) -> None:
        self.now = 0.0
        self.tasks: dict[str, ModelTask] = {}
        self.by_key: dict[tuple[str, str], Task] = {}
        self._lease_s = lease_s

    # --- what is where

    def in_state(self, *states: TaskState) -> list[ModelTask]:
        return [one for one in self.tasks.values() if one.state in states]

    def counts(self) -> dict[tuple[str, str], Counter[TaskState]]:
        counts: dict[tuple[str, str], Counter[TaskState]] = {}
        for one in self.tasks.values():
            key = (one.task.route.stream, one.task.priority.label)
            counts.setdefault(key, Counter())[one.state] += 1
        return counts

    def queued(self, streams: list[str]) -> list[ModelTask]:
        return [one for one in self.in_state(TaskState.QUEUED) if one.task.route.stream in streams]

    # --- calls

    def submitted(self, task: Task, due_in: float | None, start_by_in: float | None) -> None:
        later = due_in is not None
        one = ModelTask(
            task=task,
            state=TaskState.SCHEDULED if later else TaskState.QUEUED,
            number=len(self.tasks),
            due=None if due_in is None else self.now + due_in,
            start_by=None if start_by_in is None else self.now + start_by_in,
        )
        one.kinds.append(f"task.{one.state.value}")
        self.tasks[task.id] = one
        if task.idempotency_key:
            self.by_key[task.tenant, task.idempotency_key] = task

    def leased(self, lease: Lease) -> None:
        one = self.tasks[lease.task.id]
        assert one.state is TaskState.QUEUED, f"leased a task that is {one.state}"
        assert one.undelivered_until is None, "leased what is still another worker's delivery"
        assert not self.start_expired(one), "started after its deadline"
        assert lease.task == one.task
        one.attempt += 1
        one.counted += 1
        assert (lease.attempt, lease.attempts_counted) == (one.attempt, one.counted)
        assert lease.spent_before.cost_nano_usd == one.cost
        one.becomes(TaskState.RUNNING)
        one.worker = lease.worker
        one.leased_until = self.now + self._lease_s

    def start_expired(self, one: ModelTask) -> bool:
        return one.start_by is not None and one.start_by <= self.now

    def fail_late_start(self, one: ModelTask) -> None:
        one.becomes(TaskState.FAILED)
        one.error = "deadline_exceeded"

    def holds(self, lease: Lease) -> bool:
        one = self.tasks[lease.task.id]
        return one.state is TaskState.RUNNING and (one.worker, one.attempt) == (lease.worker, lease.attempt)

    def extended(self, lease: Lease) -> tuple[bool, bool]:
        """Held, asked to cancel."""
        one = self.tasks[lease.task.id]
        if not self.holds(lease):
            return False, False
        one.leased_until = self.now + self._lease_s
        return True, one.cancel_requested

    def emitted(self, lease: Lease, kind: str) -> bool:
        if self.holds(lease):
            self.tasks[lease.task.id].kinds.append(kind)
            return True
        return False

    def settled(self, settlement: Settlement) -> bool:
        one = self.tasks[settlement.lease.task.id]
        if not self.holds(settlement.lease):
            return _same_end(one.applied, settlement)
        one.applied = settlement
        one.outcomes.append(settlement.outcome)
        one.cost += settlement.usage.cost_nano_usd
        outcome = settlement.outcome
        if one.cancel_requested and outcome in (AttemptOutcome.RETRYING, AttemptOutcome.HANDED_BACK):
            outcome = AttemptOutcome.CANCELLED
        if outcome is AttemptOutcome.RETRYING:
            one.becomes(TaskState.RETRYING)
            one.due = self.now + settlement.retry_in_s
        elif outcome is AttemptOutcome.HANDED_BACK:
            one.counted -= 1
            one.waits_again("task.queued")
        else:
            one.becomes(FINAL_BY_OUTCOME[outcome])
            one.result = settlement.result
        one.error = _error_after(outcome, settlement, one.error)
        return True

    def cancelled(self, task_id: str) -> None:
        one = self.tasks[task_id]
        if one.state is TaskState.RUNNING:
            one.cancel_requested = True
        elif one.state in WAITING:
            one.becomes(TaskState.CANCELLED)
            one.error = "cancelled"

    def redriven(self, task_id: str, tenant: str | None) -> bool:
        one = self.tasks[task_id]
        if one.state is not TaskState.DEAD or tenant not in (None, one.task.tenant):
            return False
        one.counted = 0
        one.error = None
        one.waits_again("task.queued")
        return True

    def delivery_lost(self, task_id: str) -> None:
        one = self.tasks[task_id]
        assert one.state is TaskState.QUEUED
        one.undelivered_until = self.now + self._lease_s

    def kept_up(self) -> UpkeepReport:
        """One pass of upkeep: missed starts, what is due, expired leases, lost deliveries, in this order."""
        counts: Counter[str] = Counter()
        for one in self.in_state(*WAITING):
            if self.start_expired(one):
                self.fail_late_start(one)
                counts["expired"] += 1
        for one in self.in_state(TaskState.SCHEDULED, TaskState.RETRYING):
            if one.due is not None and one.due <= self.now:
                one.waits_again("task.queued")
                counts["promoted"] += 1
        for one in self.in_state(TaskState.RUNNING):
            if one.leased_until <= self.now:
                counts[self._worker_lost(one)] += 1
        for one in self.in_state(TaskState.QUEUED):
            if one.undelivered_until is not None and one.undelivered_until <= self.now:
                one.undelivered_until = None
                one.fresh = False
                counts["reclaimed"] += 1
        return UpkeepReport(
            promoted=counts["promoted"], reclaimed=counts["reclaimed"], expired=counts["expired"], dead=counts["dead"]
        )

    def _worker_lost(self, one: ModelTask) -> str:
        one.outcomes.append(AttemptOutcome.LOST)
        if one.cancel_requested:
            one.becomes(TaskState.CANCELLED)
            one.error = "cancelled"
            return "cancelled"
        one.error = "worker_lost"
        if one.counted >= one.task.max_attempts:
            one.becomes(TaskState.DEAD)
            return "dead"
        one.waits_again("task.retrying")
        return "reclaimed"


def _same_end(applied: Settlement | None, again: Settlement) -> bool:
    return applied is not None and (applied.lease.attempt, applied.lease.worker, applied.outcome) == (
        again.lease.attempt,
        again.lease.worker,
        again.outcome,
    )


def _error_after(outcome: AttemptOutcome, settlement: Settlement, before: str | None) -> str | None:
    if outcome is AttemptOutcome.SUCCEEDED:
        return None
    if outcome is AttemptOutcome.CANCELLED:
        return "cancelled"
    if outcome is AttemptOutcome.HANDED_BACK:
        return before
    return settlement.error.code if settlement.error else None
