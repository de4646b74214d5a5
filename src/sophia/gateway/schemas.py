"""Shapes of the public HTTP API. The OpenAPI document and the UI's types are generated from these."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from sophia.nouns.budget import Budget
from sophia.nouns.submission import PriorityName, Submission, Timestamp
from sophia.nouns.task import AttemptOutcome, Durability, Target, TaskState, Tier


class BatchSubmission(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All are accepted or none."""

    tasks: Annotated[list[Submission], msgspec.Meta(min_length=1)]


class RouteView(msgspec.Struct, frozen=True, kw_only=True):
    stream: str
    """``stream:planning`` and the like."""
    target: Target
    reason: str


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    state: TaskState
    route: RouteView
    duplicate: bool
    """The idempotency key was known: this is the task it made."""


class BatchAccepted(msgspec.Struct, frozen=True, kw_only=True):
    tasks: list[Accepted]


class ErrorView(msgspec.Struct, frozen=True, kw_only=True):
    code: str
    message: str
    retryable: bool


class UsageView(msgspec.Struct, frozen=True, kw_only=True):
    input_tokens: int
    output_tokens: int
    embedding_tokens: int
    model_calls: int
    run_s: float
    cost_usd: float


class AttemptView(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    worker: str
    pool: str
    started_at: Timestamp
    ended_at: Timestamp | None
    outcome: AttemptOutcome
    error: ErrorView | None
    usage: UsageView


class TaskSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the task list."""

    id: str
    type: str
    tenant: str
    state: TaskState
    tier: Tier
    priority: PriorityName
    route: RouteView
    title: str
    """The beginning of the goal, prompt or question, or the number of texts."""
    submitted_at: Timestamp
    updated_at: Timestamp
    finished_at: Timestamp | None
    attempts: int
    usage: UsageView
    error: ErrorView | None
    labels: dict[str, str]


class TaskView(msgspec.Struct, frozen=True, kw_only=True):
    """A task in full."""

    id: str
    type: str
    tenant: str
    state: TaskState
    tier: Tier
    priority: PriorityName
    route: RouteView
    title: str
    payload: dict[str, Any]
    budget: Budget
    submitted_at: Timestamp
    updated_at: Timestamp
    due_at: Timestamp | None
    deadline_at: Timestamp | None
    finished_at: Timestamp | None
    cancel_requested: bool
    max_attempts: int
    attempts: list[AttemptView]
    usage: UsageView
    result: Any
    error: ErrorView | None
    labels: dict[str, str]
    durability: Durability


class TaskList(msgspec.Struct, frozen=True, kw_only=True):
    tasks: list[TaskSummary]
    next_cursor: str | None


class DeadLetters(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks that used up their attempts, newest first. They stay until they are redriven."""

    tasks: list[TaskSummary]
    more: bool
    """There are more than ``limit``."""


class RedriveRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Either ``ids`` or ``all``."""

    ids: Annotated[list[str], msgspec.Meta(min_length=1, max_length=1_000)] | None = None
    all: bool = False
    """The newest 1,000; ask again while ``more``."""


class JoinHost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    token: Annotated[str, msgspec.Meta(min_length=16, max_length=200)]
    """Of the host's set-up document."""
    host_key: Annotated[str, msgspec.Meta(min_length=16, max_length=200)]
    """Made by the host. It binds the token: the same host may ask again when an answer was lost."""


class HostJoined(msgspec.Struct, frozen=True, kw_only=True):
    instance_id: str
    pool: str
    environment: dict[str, str]
    """Credentials, for the environment of its worker."""
    settings: dict[str, Any]
    """The platform's sophia.yaml, which holds no secret."""


class NotRedriven(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    reason: str
    code: str | None = None
    """``budget_exceeded``: it stays a dead letter until its tenant's budget has room; ``unavailable``: try again."""
    retry_after_s: float | None = None


class Redriven(msgspec.Struct, frozen=True, kw_only=True):
    """What went back into the queue, its attempts counted anew, and what did not."""

    redriven: list[str]
    not_redriven: list[NotRedriven]
    more: bool
    """With ``all``: dead letters are left."""


class CancelRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    reason: Annotated[str, msgspec.Meta(max_length=500)] = "cancelled by user"


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a task is where it is."""

    id: str
    state: TaskState
    summary: str
    """In words, one paragraph."""
    position: int | None
    """Tasks ahead of it; ``None`` when it does not wait or it is unknown."""
    expected_start_at: Timestamp | None
    basis: str
    """What the expectation rests on."""
    would_help: list[str]
    """What would change it."""
    route: RouteView


class StreamView(msgspec.Struct, frozen=True, kw_only=True):
    """One stream and priority. ``null`` is unknown, not zero."""

    stream: str
    priority: PriorityName
    waiting: int | None
    running: int | None
    delayed: int | None
    retrying: int | None
    backlog: int | None
    oldest_age_s: float | None
    first_entry: str | None
    last_entry: str | None
    groups: list[str]


class QueueView(msgspec.Struct, frozen=True, kw_only=True):
    streams: list[StreamView]
    waiting: int | None
    running: int | None
    delayed: int | None
    retrying: int | None
    dead: int | None
    poison: int | None
    """Entries set aside because they could not be decoded."""
    at: Timestamp


class PoisonView(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that is no task, as it was found."""

    id: str
    stream: str
    priority: PriorityName
    set_aside_at: Timestamp
    content: str
    """The beginning, as text; bytes that are none are replaced."""


class PoisonList(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first."""

    total: int
    entries: list[PoisonView]


class InstanceView(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    pool: str
    state: Literal["requested", "booting", "ready", "working", "draining", "terminated"]
    instance_type: str
    region: str
    price_usd_per_hour: float
    requested_at: Timestamp
    ready_at: Timestamp | None
    busy: int | None
    slots: int
    reason: str
    cost_usd: float
    """What it has cost so far, by the started minute."""


class PoolView(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    provider: str
    streams: list[str]
    min: int
    max: int
    desired: int | None
    reason: str
    """Why that many are desired, in words."""
    waiting: int | None
    running: int | None
    idle_timeout_s: float | None
    instances: list[InstanceView]
    cordoned: bool
    """An operator wants no launches."""
    usd_per_hour: float
    """What its instances cost at this moment."""
    spent_usd_today: float
    spent_usd_month: float
    """Of this UTC day and month."""
    max_usd_per_day: float | None
    max_usd_per_month: float | None


class PoolOrderRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the pool manager shall do."""

    verb: Literal["drain", "terminate", "cordon", "uncordon", "launch"]
    instance: str | None = None
    """For `drain` and `terminate`."""
    dry_run: bool = False
    """Only say what would be done, and at which price."""


class PoolOrderView(msgspec.Struct, frozen=True, kw_only=True):
    ok: bool
    message: str
    """What was done, or why not."""
    dry_run: bool


class PoolsView(msgspec.Struct, frozen=True, kw_only=True):
    pools: list[PoolView]
    at: Timestamp | None
    """When the pool manager last looked; ``null`` while none has."""


class BudgetView(msgspec.Struct, frozen=True, kw_only=True):
    """One cap on what a tenant's tasks may spend, by the UTC day or month of their admission."""

    name: Literal["usd_per_day", "usd_per_month", "tokens_per_day", "tokens_per_month"]
    unit: Literal["usd", "tokens"]
    period: str
    """The day or month that is meant: `2026-11-23` or `2026-11`."""
    cap: float
    spent: float | None
    """`null`, as the next two: it is being rebuilt."""
    reserved: float | None
    """Held by tasks that wait or run, until each has ended."""
    left: float | None
    """A task that may cost more than this is refused."""
    resets_at: Timestamp


class BudgetsView(msgspec.Struct, frozen=True, kw_only=True):
    tenant: str
    summary: str
    """In words, one sentence."""
    rebuilding: bool
    """The queue is new or was lost, and what was spent is being read from the ledger: until then no task is accepted."""
    budgets: list[BudgetView]
    """Empty: nothing caps what this tenant's tasks spend."""
    at: Timestamp


class ScheduleView(msgspec.Struct, frozen=True, kw_only=True):
    """A task that is submitted again and again."""

    name: str
    cron: str
    time_zone: str
    enabled: bool
    catch_up: int
    """Of occurrences missed while no router ran, that many of the latest are made up for."""
    type: str
    priority: PriorityName
    next_at: Timestamp | None
    """``null``: disabled, or it never comes."""
    last_at: Timestamp | None
    """The occurrence that ran last; ``null`` while none has."""
    last_task_id: str | None
    last_error: ErrorView | None
    """Why that occurrence was refused."""


class ScheduleList(msgspec.Struct, frozen=True, kw_only=True):
    schedules: list[ScheduleView]


class Health(msgspec.Struct, frozen=True, kw_only=True):
    status: Literal["ok"]
    version: str


class Check(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    ok: bool
    detail: str


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    ready: bool
    checks: list[Check]


class TypeInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A task type with the JSON Schemas (2020-12) of its payload and its result."""

    type: str
    description: str
    payload_schema: dict[str, Any]
    result_schema: dict[str, Any]


class TypeList(msgspec.Struct, frozen=True, kw_only=True):
    types: list[TypeInfo]


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    field: str | None = None
    """The input at fault, as a path: ``payload.texts[3]``."""
    mend: str | None = None
    """What would be accepted."""
    retry_after_s: float | None = None


class ClientConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the page needs to know before it has a key."""

    websocket_url: str
    version: str
