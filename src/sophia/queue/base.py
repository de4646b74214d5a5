"""The queue contract. Every engine passes the suite in ``tests/conformance/queue``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from sophia.nouns.errors import ErrorInfo
from sophia.nouns.task import AttemptOutcome, Task, TaskRecord, TaskState
from sophia.nouns.usage import Usage


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a submission. ``duplicate`` when the idempotency key was known: ``task_id`` is then the first one."""

    task_id: str
    state: TaskState
    duplicate: bool = False


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """The expiring right to run one attempt. ``attempt`` fences: a later attempt makes this lease void."""

    task: Task
    attempt: int
    attempts_counted: int
    """Attempts that count against ``max_attempts``, this one included."""
    worker: str
    leased_at_ms: int
    spent_before: Usage = Usage()
    """Usage of earlier attempts: it counts against the task's budget."""


class LeaseStatus(msgspec.Struct, frozen=True, kw_only=True):
    task_id: str
    attempt: int
    held: bool
    cancel_requested: bool = False


class Emission(msgspec.Struct, frozen=True, kw_only=True):
    """A progress or output event of a running attempt."""

    lease: Lease
    kind: str
    data: dict[str, Any]


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended. Applied once, and only while its attempt is the current one.

    ``outcome`` SUCCEEDED needs ``result``; RETRYING needs ``retry_in_s``; HANDED_BACK returns the task to the
    queue at once without counting the attempt.
    """

    lease: Lease
    outcome: AttemptOutcome
    pool: str = ""
    usage: Usage = Usage()
    result: Any = None
    error: ErrorInfo | None = None
    retry_in_s: float = 0.0


class WorkerBeat(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's report of itself. ``stop_requested`` comes back when its pool wants it drained."""

    worker: str
    pool: str
    state: str
    """``ready`` or ``draining``."""
    busy: int
    slots: int
    started_at_ms: int
    seen_at_ms: int = 0
    done: int = 0
    """Attempts finished since start."""

    @property
    def due_again_in_s(self) -> float:
        """Unless something changes. An idle worker reports more seldom: managed queues bill every command."""
        return 10.0 if self.busy else 25.0

    @property
    def listed_for_s(self) -> float:
        """How long a worker that falls silent after this report stays listed: three missed reports."""
        return 3 * self.due_again_in_s + 5


class StreamStats(msgspec.Struct, frozen=True, kw_only=True):
    """One stream and priority. ``None`` means unknown. Backlog is waiting + delayed + retrying + running."""

    stream: str
    priority: str
    waiting: int | None
    running: int | None
    delayed: int | None
    retrying: int | None
    dead: int | None = None
    oldest_age_s: float | None = None
    first_entry: str | None = None
    last_entry: str | None = None
    groups: tuple[str, ...] = ()


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """Why a task has not started: how many are ahead of it, or when it becomes due."""

    state: TaskState
    ahead: int | None
    due_at_ms: int | None = None
    stream: str = ""
    priority: str = ""


class PoisonEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that is no task of ours, as it was found. ``content`` is text; bytes that are none are replaced."""

    id: str
    stream: str
    priority: str
    set_aside_at_ms: int
    content: str


class Poison(msgspec.Struct, frozen=True, kw_only=True):
    total: int
    newest: list[PoisonEntry]


class Redrive(msgspec.Struct, frozen=True, kw_only=True):
    """What became of dead letters that were to be queued again. Those in neither are no dead letters of the tenant."""

    went: list[str]
    refused: dict[str, ErrorInfo]
    """By task id: they stay dead letters, because a budget of their tenant has no room for them now."""


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant's tasks that were admitted in a period (``2026-11-23`` or ``2026-11``, UTC) have spent of it."""

    tenant: str
    period: str
    nano_usd: int
    tokens: int


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in a tenant's account of one period (``2026-11-23`` or ``2026-11``, UTC)."""

    period: str
    nano_usd: int
    """Spent by tasks that were admitted in the period."""
    tokens: int
    reserved_nano_usd: int
    """Held by those of them that are under way."""
    reserved_tokens: int


class Balances(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's accounts of a day and of its month. While they are not ``open`` they say less than was spent."""

    open: bool
    day: Balance
    month: Balance


class UpkeepReport(msgspec.Struct, frozen=True, kw_only=True):
    promoted: int = 0
    reclaimed: int = 0
    expired: int = 0
    dead: int = 0
    next_due_in_s: float | None = None
    accounts_open: bool = True
    """``False``: the budgets' accounts have to be rebuilt, see ``BudgetAccounts``."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A task whose record the ledger has to take up. ``token`` acknowledges it."""

    token: str
    task_id: str


class TaskQueue(Protocol):
    """The producer's and the reader's side."""

    async def submit(self, tasks: Sequence[Task]) -> list[Receipt]:
        """Accept all tasks or raise; accepted is durable. A known idempotency key with another request: ``Conflict``.
        No room in a budget of the tenant: ``BudgetExceeded``; its accounts are not open: ``Unavailable``."""

    async def get(self, task_ids: Sequence[str]) -> list[TaskRecord | None]:
        """Records that the queue still holds; ``None`` for those it never had or has let go (ask the ledger)."""

    async def cancel(self, task_id: str, reason: str) -> TaskRecord | None:
        """Cancel at once what waits; ask the worker to stop what runs. The record after that, or ``None``."""

    async def wait_of(self, task_id: str) -> Wait | None: ...

    async def stats(self) -> list[StreamStats]: ...

    async def workers(self) -> list[WorkerBeat]: ...

    async def dead(self, tenant: str | None, limit: int) -> list[TaskRecord]:
        """Dead letters of a tenant (``None``: of all), newest first."""

    async def redrive(self, tenant: str | None, task_ids: Sequence[str]) -> Redrive:
        """Queue dead tasks again, attempts counted anew. They are admitted anew too: what each may still spend is reserved
        of today's budgets of its tenant, and those that find no room stay where they are."""

    async def close(self) -> None: ...


class PoisonShelf(Protocol):
    """The operator's side: what was set aside because it could not be decoded. It belongs to no tenant."""

    async def poison(self, limit: int) -> Poison:
        """How many there are (about the last thousand are kept), and the newest ``limit`` of them, which may be 0."""


class WorkQueue(Protocol):
    """The worker's side."""

    async def lease(self, worker: str, streams: Sequence[str], count: int, wait_s: float) -> list[Lease]:
        """Up to ``count`` tasks, highest priority first; waits up to ``wait_s`` seconds for the first."""

    async def extend(self, leases: Sequence[Lease]) -> list[LeaseStatus]:
        """Heartbeat. A lease not ``held`` is gone for good: stop the work and settle nothing. One without a status is of
        a part of the queue that does not answer; raises when none of them does."""

    async def emit(self, emissions: Sequence[Emission]) -> list[bool]:
        """Append events of running attempts; ``False`` where the lease is no longer held (nothing was written)."""

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """End attempts, each atomically: result, usage, acknowledgement, deletion, event. ``False``: fenced off.
        Repeating a settlement that was applied gives ``True`` again (its reply may have been lost)."""

    async def beat(self, beat: WorkerBeat) -> bool:
        """Report for duty; ``True`` when the worker is asked to drain."""

    async def leave(self, worker: str) -> None: ...

    async def close(self) -> None: ...


class BudgetBalances(Protocol):
    """The reader's side of the budgets' accounts. Tenants without a budget have none: theirs are zero."""

    async def balances(self, tenant: str, at_ms: int) -> Balances:
        """As they are now, of the day and the month in which ``at_ms`` is."""


class BudgetAccounts(Protocol):
    """What tenants have spent and reserved, after an engine has lost it. While the accounts are not open nothing is
    admitted against a budget; so what is known is filled in, what was admitted before is restored, and then they are
    opened, each step with the token that names this attempt alone. A step is refused (``False``, and nothing has changed)
    when somebody else has begun, or everything was lost again, since."""

    async def begin_accounts(self, token: str) -> bool:
        """``True`` where they are open: there is nothing to do."""

    async def fill_accounts(self, token: str, spent: Sequence[Spent]) -> bool:
        """What was read of the ledger after ``begin_accounts``; an account that says more keeps it."""

    async def open_accounts(self, token: str) -> bool:
        """After every task that is still under way was restored."""


class ChangeFeed(Protocol):
    """What the ledger has to take up."""

    async def changes(self, limit: int, wait_s: float) -> list[Change]:
        """About ``limit`` tasks that changed since they were last acknowledged, oldest first; waits up to ``wait_s`` for
        the first."""

    async def acknowledge(self, changes: Sequence[Change]) -> None:
        """Takes all that one call of ``changes`` gave, or those of some tokens; changes that share a token go together."""


class Leadership(Protocol):
    """Which one of several does what only one may do."""

    async def lead(self, name: str, holder: str, ttl_s: float) -> bool:
        """Take or extend the leader lease ``name``; ``True`` while ``holder`` has it."""

    async def resign(self, name: str, holder: str) -> None: ...


class QueueUpkeep(BudgetAccounts, ChangeFeed, Leadership, Protocol):
    """The router's side, under its leader lease."""

    async def upkeep(self, limit: int) -> UpkeepReport:
        """One bounded pass: promote what is due, reclaim expired leases, fail missed deadlines, prune."""

    async def restore(self, records: Sequence[TaskRecord]) -> list[str]:
        """Queue again what the queue has lost, as the ledger had it: attempts stay its history, and their numbers go on
        behind it, which fences off whoever still works on one. An attempt that was under way counts as lost, but not
        against ``max_attempts``. What a task may still spend is reserved again, whatever is left of the budgets, as soon
        as their accounts are filled in: ``Unavailable`` until then. Known ids change nothing; the ids of those that went."""

    async def request_stop(self, worker: str) -> None:
        """Ask a worker to drain at its next beat."""
