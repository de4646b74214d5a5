"""The ledger contract: what is kept after the queue has let go. One suite in
``tests/conformance/test_store_ledger.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from sophia.nouns.pool import Instance
from sophia.nouns.task import Durability, TaskRecord, TaskState
from sophia.nouns.usage import Usage


class TaskFilter(msgspec.Struct, frozen=True, kw_only=True):
    tenant: str | None = None
    states: tuple[TaskState, ...] = ()
    types: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    submitted_after_ms: int | None = None
    submitted_before_ms: int | None = None
    durability: Durability | None = None


class TaskPage(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first. ``next_cursor`` is ``None`` on the last page."""

    tasks: list[TaskRecord]
    next_cursor: str | None


class UsageRow(msgspec.Struct, frozen=True, kw_only=True):
    """Settled usage of one tenant, task type and UTC day (``2026-01-31``), the day being that of an attempt's end.
    ``tasks`` had an attempt that ended on that day."""

    tenant: str
    type: str
    day: str
    tasks: int
    usage: Usage


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """An idempotency key of a tenant, held by the first request that named it."""

    tenant: str
    key: str
    task_id: str
    request_hash: str
    expires_at_ms: int


class Claims(Protocol):
    """Idempotency keys that outlive the queue."""

    async def claim(self, claims: Sequence[Claim], now_ms: int) -> list[str]:
        """Task ids, in order: a claim's own where the key was free, else the first one's. All or nothing.
        Raises ``Conflict`` for a key that another request holds."""

    async def release(self, claims: Sequence[Claim]) -> None:
        """Give up keys; those that another task holds stay."""


class ObjectReferences(Protocol):
    """Which objects are needed."""

    async def referenced(self, keys: Sequence[str]) -> frozenset[str]:
        """Those of the keys that the payload or result of some recorded task refers to."""


class Spending(Protocol):
    """What budgets are rebuilt from when the queue has lost its accounts."""

    async def spent(self, tenants: Sequence[str], from_ms: int, to_ms: int) -> Mapping[str, tuple[int, int]]:
        """Nano-dollars and tokens that the tenants' tasks of these UTC days have cost, by tenant: those submitted then,
        and what was spent then by those that had been given up before. Rather too much than too little: tasks that were
        pruned count by the days of their attempts."""


class Ledger(Protocol):
    async def migrate(self) -> None:
        """Bring the schema up to date; safe to run at the same time from several processes."""

    async def record(self, records: Sequence[TaskRecord]) -> None:
        """Insert or update, in one transaction. An older ``updated_at_ms`` never overwrites a newer one, and a
        final state is never left again except by a redrive (a later ``updated_at_ms``). Of two versions of the same
        millisecond the one further on stays. Recording again changes nothing, sums of usage included."""

    async def task(self, task_id: str) -> TaskRecord | None: ...

    async def tasks(self, where: TaskFilter, cursor: str | None, limit: int) -> TaskPage:
        """At most ``limit`` (1 to 1,000), without ``result`` (``None``): lists stay small. A task that is there during
        the whole walk is given once. Raises ``InvalidInput`` on a bad cursor or limit."""

    async def usage(self, tenant: str | None, from_day: str, to_day: str) -> list[UsageRow]:
        """By day, tenant and type; both days included; tasks that were pruned too. Raises ``InvalidInput``."""

    async def record_instance(self, instance: Instance) -> None:
        """Keep an instance's intent and its latest state; called before the launch call is made. The last word wins."""

    async def instances(self, live_only: bool) -> list[Instance]: ...

    async def prune(self, before_ms: int, limit: int) -> int:
        """Forget finished tasks older than that, oldest first; how many went. What they used stays in ``usage``.
        Instances whose end was recorded before that go too, and idempotency keys that had expired by then."""

    async def close(self) -> None: ...
