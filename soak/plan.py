"""What a run submits, and how each task must end: all of it from the seed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from soak.accounts import BUDGETED, RESERVATION
from sophia.nouns.task import Durability, Priority, Route, Target, Task, TaskState

STREAMS = ("planning", "coding", "embedding", "research", "light")
TENANTS = ("acme", "zeta", "initech", "default")
MANY_ATTEMPTS = 60
"""Attempts are lost with their workers; a task that shall succeed must not run out of them."""


class Fate(StrEnum):
    SUCCEEDS = "succeeds"
    FLAKY = "flaky"
    """Fails with a retryable error at first."""
    SCHEDULED = "scheduled"
    TWICE = "twice"
    """Submitted again under the same idempotency key."""
    REFUSED = "refused"
    """Fails with a permanent error."""
    BUG = "bug"
    """Its handler raises something that is no error of ours."""
    SLOW = "slow"
    """Runs into its time limit."""
    HOPELESS = "hopeless"
    """Fails with a retryable error until it is mended after the run: a dead letter."""
    CANCELLED = "cancelled"
    """Runs until a user cancels it, who does so whatever its state is."""
    LATE = "late"
    """Cannot start before its deadline."""
    HELD = "held"
    """Runs until the run lets it go on."""
    POSTPONED = "postponed"
    """Is told by its model, at first, to come again after a while."""


WEIGHTS = {
    Fate.SUCCEEDS: 60,
    Fate.FLAKY: 10,
    Fate.SCHEDULED: 5,
    Fate.TWICE: 3,
    Fate.REFUSED: 4,
    Fate.BUG: 2,
    Fate.SLOW: 3,
    Fate.HOPELESS: 3,
    Fate.CANCELLED: 7,
    Fate.LATE: 3,
}
SHORT_TASKS = {Fate.SUCCEEDS: 1}
ALL_SUCCEED = {
    Fate.SUCCEEDS: 60,
    Fate.FLAKY: 10,
    Fate.SCHEDULED: 10,
    Fate.TWICE: 10,
    Fate.POSTPONED: 7,
    # Of the first few hundred tasks, more than all workers have slots: the others wait for them.
    Fate.HELD: 20,
}
ENDS = {
    Fate.SUCCEEDS: (TaskState.SUCCEEDED, None),
    Fate.FLAKY: (TaskState.SUCCEEDED, None),
    Fate.SCHEDULED: (TaskState.SUCCEEDED, None),
    Fate.TWICE: (TaskState.SUCCEEDED, None),
    Fate.REFUSED: (TaskState.FAILED, {"invalid_request"}),
    Fate.BUG: (TaskState.FAILED, {"handler_error"}),
    Fate.SLOW: (TaskState.FAILED, {"timed_out"}),
    Fate.HOPELESS: (TaskState.DEAD, {"unavailable", "worker_lost"}),
    Fate.CANCELLED: (TaskState.CANCELLED, {"cancelled"}),
    Fate.LATE: (TaskState.FAILED, {"deadline_exceeded"}),
    Fate.HELD: (TaskState.SUCCEEDED, None),
    Fate.POSTPONED: (TaskState.SUCCEEDED, None),
}


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What a task's handler is told, as the task's prompt."""

    number: int
    fate: Fate
    work_ms: int
    failures: int


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One task of a run."""

    number: int
    fate: Fate
    tenant: str
    priority: Priority
    stream: str
    work_ms: int
    failures: int
    """Attempts that fail before one succeeds."""
    cancel_after_s: float
    later_ms: int = 0
    """From its submission to when it becomes due."""

    @property
    def end(self) -> TaskState:
        return ENDS[self.fate][0]

    @property
    def error_codes(self) -> set[str] | None:
        return ENDS[self.fate][1]

    @property
    def task_id(self) -> str:
        return f"{self.number:032x}"

    def task(self, now_ms: int, durability: Durability, *, task_id: str | None = None) -> Task:
        orders = Orders(number=self.number, fate=self.fate, work_ms=self.work_ms, failures=self.failures)
        return Task(
            id=task_id or self.task_id,
            type="light",
            payload={"prompt": msgspec.json.encode(orders).decode()},
            route=Route(stream=self.stream, target=Target.CPU, reason="drawn"),
            submitted_at_ms=now_ms,
            tenant=self.tenant,
            priority=self.priority,
            run_at_ms=now_ms + self.later_ms if self.later_ms else None,
            deadline_at_ms=now_ms + 1_000 if self.fate is Fate.LATE else None,
            timeout_s=0.3 if self.fate is Fate.SLOW else 600.0,
            max_attempts=2 if self.fate is Fate.HOPELESS else MANY_ATTEMPTS,
            idempotency_key=f"key-{self.number}" if self.fate is Fate.TWICE else None,
            reserved=RESERVATION if self.tenant in BUDGETED else None,
            durability=durability,
        )


LONG_MS = (6_000, 12_000)
"""Some tasks outlast a lease several times."""
LESS_LONG_MS = (4_000, 6_000)


def make_plan(
    seed: int, count: int, weights: Mapping[Fate, int] = WEIGHTS, long_ms: tuple[int, int] = LONG_MS
) -> list[Job]:
    chance = random.Random(seed)
    fates = chance.choices(list(weights), list(weights.values()), k=count)
    return [_job(chance, number, fate, long_ms) for number, fate in enumerate(fates, 1)]


def _job(chance: random.Random, number: int, fate: Fate, long_ms: tuple[int, int]) -> Job:
    long = chance.random() < 0.01
    return Job(
        number=number,
        fate=fate,
        tenant=chance.choice(TENANTS),
        priority=chance.choice(list(Priority)),
        stream=chance.choice(STREAMS),
        work_ms=chance.randint(*long_ms) if long else int(chance.expovariate(1 / 40)),
        failures=chance.randint(1, 3) if fate is Fate.FLAKY else 0,
        cancel_after_s=chance.uniform(0, 2),
        later_ms={Fate.SCHEDULED: 2_000, Fate.LATE: 3_000}.get(fate, 0),
    )


def tokens_of(number: int, attempt: int) -> tuple[int, int]:
    """Tokens read and written by an attempt's model call: different for each, known to the verifier."""
    return number % 89 + attempt + 1, (number * 7 + attempt * 13) % 97 + 1


NANO_USD_PER_TOKEN = 1_000


def cost_of(number: int, attempt: int) -> int:
    """Nano-dollars."""
    return sum(tokens_of(number, attempt)) * NANO_USD_PER_TOKEN


def orders_of(payload: Any) -> Orders:
    return msgspec.json.decode(payload.prompt, type=Orders)
