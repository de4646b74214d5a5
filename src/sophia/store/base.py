"""The ledger contract: what is kept after the queue has let go. One suite in
``tests/conformance/test_store_ledger.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from sophia.nouns.batches import Batch, ChunkResult, FilePart, Purpose, StoredFile
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


class FileFilter(msgspec.Struct, frozen=True, kw_only=True):
    """``after``: the id of the last file of the page before."""

    purpose: Purpose | None = None
    after: str | None = None
    newest_first: bool = True


class Files(Protocol):
    """Files of tenants. Who has deleted one, or let it expire, does not see it any more."""

    async def add_file(self, file: StoredFile, parts: Sequence[FilePart]) -> None: ...

    async def file(self, tenant: str, file_id: str, now_ms: int) -> StoredFile | None: ...

    async def files(self, tenant: str, where: FileFilter, limit: int, now_ms: int) -> list[StoredFile]: ...

    async def parts(self, file_id: str, first: int, limit: int) -> list[FilePart]:
        """In order, beginning with number ``first`` (from 0); also of a deleted file, until it is forgotten."""

    async def delete_file(self, tenant: str, file_id: str, now_ms: int) -> bool:
        """``False`` when there is none."""

    async def forget_files(self, now_ms: int) -> int:
        """Drop what was deleted or has expired and no open batch reads; how many went. Their objects are then free."""


class EndedChunk(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk whose task is final in the ledger and whose result was not taken up yet."""

    number: int
    state: TaskState
    result: ChunkResult | None
    """Of a task that succeeded."""
    error: str | None
    """Of one that did not: its last error in words."""


class Batches(Protocol):
    """Batches of tenants, and the chunks that they are carried out in. ``number`` of a chunk: of its part in the input."""

    async def add_batch(self, batch: Batch) -> None: ...

    async def batch(self, tenant: str, batch_id: str) -> Batch | None: ...

    async def batches(self, tenant: str, after: str | None, limit: int) -> list[Batch]:
        """Newest first, those behind ``after``."""

    async def open_batches(self) -> list[Batch]:
        """Oldest first, at most ``MAX_OPEN``."""

    async def save_batch(
        self,
        batch: Batch,
        *,
        chunks: Mapping[int, str] = ...,
        results: Mapping[int, ChunkResult] = ...,
        files: Sequence[tuple[StoredFile, Sequence[FilePart]]] = ...,
    ) -> bool:
        """Keep ``batch`` in place of the version before it, and with it in one transaction its new chunks (task ids),
        results of chunks, and files. ``False``, and nothing is kept, when that version is not the latest any more.
        A batch that has ended lets go of its chunks."""

    async def unsent_chunks(self, batch_id: str, limit: int) -> list[tuple[int, str]]:
        """Number and task id of chunks whose task the ledger does not have, and which have no result either."""

    async def chunk_tasks(self, batch_id: str) -> list[str]:
        """Ids of the tasks of chunks that have no result yet."""

    async def ended_chunks(self, batch_id: str, limit: int) -> list[EndedChunk]: ...

    async def results(self, batch_id: str) -> list[ChunkResult]:
        """In the order of the chunks."""

    async def forget_batches(self, before_ms: int) -> int:
        """Drop batches that ended before that; their files stay until they expire."""


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
