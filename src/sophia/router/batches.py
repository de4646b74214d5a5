"""Carries batches out: checks their input, queues its chunks, takes up what they gave, writes the output.

What is done is in the store alone, and each step is one transaction that names the version it changes; so whoever leads
after a crash goes on where the store says. A chunk's task is found again by its idempotency key, and its result is
taken up once, with the counts, in one transaction. The ids of the tasks are in the store before any of them is queued.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import msgspec

from sophia.decisions.batch_lines import LineChecker, numbered, read_line, worst_case
from sophia.decisions.batch_task import chunk_task, needs_worst_case
from sophia.events.base import EventLog
from sophia.intake import Intake
from sophia.nouns import batch_output
from sophia.nouns.batches import (
    BATCHES_SNAPSHOT,
    Batch,
    BatchFault,
    BatchStatus,
    BatchTokens,
    ChunkResult,
    FilePart,
    Purpose,
    StoredFile,
)
from sophia.nouns.clock import Clock
from sophia.nouns.errors import BudgetExceeded, ErrorClass, ObjectDamaged, ObjectMissing, SophiaError
from sophia.nouns.ids import IdSource
from sophia.nouns.objects import ObjectRef
from sophia.nouns.task import Task, TaskState
from sophia.objects.packing import Packing
from sophia.queue.base import TaskQueue
from sophia.settings.model import Settings
from sophia.store.base import Batches, EndedChunk, Files

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
"""While nothing is open: whether somebody has made a batch, which costs one command."""
LOOK_ANYWAY_EVERY_S = 600.0
PARTS_AT_ONCE = 100
READ_AT_ONCE = 8
BUDGET_PAUSE_MS = 10_000
DAY_MS = 86_400_000
_WAITING = frozenset({TaskState.QUEUED, TaskState.SCHEDULED, TaskState.RETRYING})


class BatchKeeper:
    """One term of leadership."""

    def __init__(
        self,
        batches: Batches,
        files: Files,
        *,
        packing: Packing,
        intake: Intake,
        queue: TaskQueue,
        events: EventLog,
        settings: Settings,
        clock: Clock,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._batches = batches
        self._files = files
        self._packing = packing
        self._intake = intake
        self._queue = queue
        self._events = events
        self._settings = settings
        self._clock = clock
        self._look_every_s = look_every_s
        self._ids = IdSource()
        self.wanted = asyncio.Event()
        """Another pass is worth while now."""
        self.caught_up = asyncio.Event()
        """All results that were there at the beginning of the term are taken up."""
        self._seen: bytes | None = None
        self._looked_at_s: float | None = None
        self._any_open = True
        self._not_before_ms: dict[str, int] = {}
        """Batches that wait for a budget."""

    def note_change(self) -> None:
        """Some task has changed: while batches are open it may have been a chunk's."""
        if self._any_open:
            self.wanted.set()

    async def advance_some(self) -> float:
        """One pass over the open batches; gives the seconds until the next one is worth while."""
        news = await self._events.snapshot(BATCHES_SNAPSHOT)
        now_s = self._clock.monotonic_s()
        due = self._looked_at_s is None or now_s - self._looked_at_s >= LOOK_ANYWAY_EVERY_S
        if not (self._any_open or due or news != self._seen):
            return self._look_every_s
        # Whatever goes wrong now, the next pass looks again.
        self._looked_at_s = None
        open_batches = await self._batches.open_batches()
        for batch in open_batches:
            await self._advance(batch)
        await self._forget()
        self._looked_at_s, self._seen, self._any_open = now_s, news, bool(open_batches)
        self.caught_up.set()
        return self._look_every_s

    async def _forget(self) -> None:
        now_ms = self._clock.now_ms()
        await self._files.forget_files(now_ms)
        days = self._settings.queue.ledger_retention_days
        await self._batches.forget_batches(now_ms - round(days * DAY_MS))

    async def _advance(self, batch: Batch) -> None:
        try:
            if batch.status is BatchStatus.VALIDATING:
                await self._validate(batch)
            elif batch.status is BatchStatus.FINALIZING:
                await self._finish(batch)
            else:
                await self._carry_on(batch)
        except (ObjectMissing, ObjectDamaged) as error:
            log.error("batch %s: its input is lost: %s", batch.id, error)
            await self._fail(batch, (BatchFault(code="input_file_lost", message=error.message),))
        except SophiaError as error:
            if error.error_class is not ErrorClass.PERMANENT:
                raise
            log.exception("batch %s cannot go on", batch.id)
            await self._fail(batch, (BatchFault(code=error.code, message=error.message),))

    async def _validate(self, batch: Batch) -> None:
        if self._is_over(batch):
            await self._save(batch, status=BatchStatus.FINALIZING, expiring=True, finalizing_at_ms=self._now())
            return
        checker = LineChecker(batch.endpoint, frozenset(batch.models), self._settings.batches.max_requests)
        first, now_ms = 0, self._now()
        while not checker.hopeless and (parts := await self._files.parts(batch.input_file_id, first, PARTS_AT_ONCE)):
            for start in range(0, len(parts), READ_AT_ONCE):
                some = parts[start : start + READ_AT_ONCE]
                for part, body in zip(some, await self._read(some), strict=True):
                    checker.check(body, part.first_line)
            first += len(parts)
        faults = checker.verdict()
        if faults:
            await self._fail(batch, faults)
            return
        (model,) = checker.models_named if len(checker.models_named) == 1 else (None,)
        await self._save(
            batch,
            status=BatchStatus.IN_PROGRESS,
            chunks={number: self._ids.new(now_ms) for number in range(first)},
            in_progress_at_ms=now_ms,
            total=checker.requests,
            model=model,
        )
        self.wanted.set()

    async def _fail(self, batch: Batch, faults: tuple[BatchFault, ...]) -> None:
        await self._save(batch, status=BatchStatus.FAILED, errors=faults, ended_at_ms=self._now())

    async def _carry_on(self, batch: Batch) -> None:
        """In progress or being cancelled."""
        ending = batch.status is BatchStatus.CANCELLING or batch.expiring
        if not ending and self._is_over(batch):
            await self._save(batch, expiring=True)
            self.wanted.set()
            return
        while ended := await self._batches.ended_chunks(batch.id, PARTS_AT_ONCE):
            taken = await self._take_up(batch, ended)
            if taken is None:
                return
            batch = taken
        if ending:
            await self._stop_waiting(batch)
            rest = await self._give_up_rest(batch)
        else:
            rest = await self._queue_more(batch)
        if rest is None:
            return
        if not await self._batches.chunk_tasks(batch.id):
            # A batch that is being cancelled is finalized under that name.
            status = BatchStatus.CANCELLING if batch.status is BatchStatus.CANCELLING else BatchStatus.FINALIZING
            saved = await self._save(rest, status=status, finalizing_at_ms=self._now())
            if saved is not None:
                await self._finish(saved)

    def _is_over(self, batch: Batch) -> bool:
        return self._clock.now_ms() >= batch.expires_at_ms

    async def _queue_more(self, batch: Batch) -> Batch | None:
        """``None`` while there is more to queue than could be."""
        if self._not_before_ms.get(batch.id, 0) > self._now():
            return None
        while unsent := await self._batches.unsent_chunks(batch.id, PARTS_AT_ONCE):
            try:
                await self._intake.submit(await self._tasks(batch, unsent))
            except BudgetExceeded as refusal:
                self._not_before_ms[batch.id] = self._now() + BUDGET_PAUSE_MS
                await self._save(batch, waits_for=refusal.message)
                return None
        return batch if batch.waits_for is None else await self._save(batch, waits_for=None)

    async def _tasks(self, batch: Batch, chunks: Sequence[tuple[int, str]]) -> list[Task]:
        parts = await self._parts(batch, chunks)
        costs: list[tuple[int, int] | None] = [None] * len(parts)
        if needs_worst_case(batch, self._settings):
            most = self._settings.tasks["openai_batch"].max_tokens
            for start in range(0, len(parts), READ_AT_ONCE):
                bodies = await self._read(parts[start : start + READ_AT_ONCE])
                costs[start : start + READ_AT_ONCE] = [worst_case(body, most) for body in bodies]
        now_ms = self._now()
        return [
            chunk_task(batch, number, part, task_id=task_id, now_ms=now_ms, settings=self._settings, worst_case=cost)
            for (number, task_id), part, cost in zip(chunks, parts, costs, strict=True)
        ]

    async def _parts(self, batch: Batch, chunks: Sequence[tuple[int, str]]) -> list[FilePart]:
        """The input of chunks, which are in order."""
        first, last = chunks[0][0], chunks[-1][0]
        parts = await self._files.parts(batch.input_file_id, first, last - first + 1)
        return [parts[number - first] for number, _ in chunks]

    async def _take_up(self, batch: Batch, ended: Sequence[EndedChunk]) -> Batch | None:
        results: dict[int, ChunkResult] = {}
        for chunk in ended:
            if chunk.result is not None:
                results[chunk.number] = chunk.result
            else:
                (part,) = await self._files.parts(batch.input_file_id, chunk.number, 1)
                results[chunk.number] = await self._undone(batch, part, *self._reason(batch, chunk))
        return await self._save_results(batch, results)

    async def _save_results(self, batch: Batch, results: dict[int, ChunkResult]) -> Batch | None:
        tokens = sum((result.tokens for result in results.values()), BatchTokens())
        return await self._save(
            batch,
            results=results,
            completed=batch.completed + sum(result.completed for result in results.values()),
            failed=batch.failed + sum(result.failed for result in results.values()),
            tokens=batch.tokens + tokens,
        )

    async def _stop_waiting(self, batch: Batch) -> None:
        """Cancel the chunks that have not begun; those that run end by themselves."""
        task_ids = await self._batches.chunk_tasks(batch.id)
        for start in range(0, len(task_ids), PARTS_AT_ONCE):
            for record in await self._queue.get(task_ids[start : start + PARTS_AT_ONCE]):
                if record is not None and record.state in _WAITING:
                    reason = "its batch has expired" if batch.expiring else "its batch was cancelled"
                    await self._queue.cancel(record.task.id, reason)

    async def _give_up_rest(self, batch: Batch) -> Batch | None:
        """Say of the lines of chunks that were never queued that they will not be carried out. A chunk that the queue
        has and the ledger has not yet is one of those that end by themselves."""
        while unsent := await self._batches.unsent_chunks(batch.id, PARTS_AT_ONCE):
            found = await self._queue.get([task_id for _, task_id in unsent])
            gone = [chunk for chunk, record in zip(unsent, found, strict=True) if record is None]
            if not gone:
                break
            parts = await self._parts(batch, gone)
            results = {
                number: await self._undone(batch, part, *_end(batch, over=batch.expiring))
                for (number, _), part in zip(gone, parts, strict=True)
            }
            saved = await self._save_results(batch, results)
            if saved is None:
                return None
            batch = saved
        return batch

    async def _undone(self, batch: Batch, part: FilePart, code: str, message: str) -> ChunkResult:
        body = await self._packing.fetch(part.object)
        lines = [read_line(raw, number)[0] for number, raw in numbered(body, part.first_line)]
        written = [
            batch_output.unanswered(batch.id, line.custom_id, code, message) for line in lines if line is not None
        ]
        if not written:
            return ChunkResult()
        return ChunkResult(failed=len(written), errors=(await self._packing.keep(b"".join(written)),))

    async def _finish(self, batch: Batch) -> None:
        """Output and error file are the chunks' own objects, one after the other: nothing is copied."""
        results = await self._batches.results(batch.id)
        output = self._file(batch, "output", [ref for result in results for ref in result.output])
        errors = self._file(batch, "error", [ref for result in results for ref in result.errors])
        status = BatchStatus.COMPLETED
        if batch.status is BatchStatus.CANCELLING:
            status = BatchStatus.CANCELLED
        elif batch.expiring:
            status = BatchStatus.EXPIRED
        saved = await self._save(
            batch,
            files=[made for made in (output, errors) if made is not None],
            status=status,
            ended_at_ms=self._now(),
            waits_for=None,
            output_file_id=None if output is None else output[0].id,
            error_file_id=None if errors is None else errors[0].id,
        )
        if saved is not None:
            self._not_before_ms.pop(batch.id, None)
            log.info("batch %s: %s", batch.id, status, extra={"completed": batch.completed, "failed": batch.failed})

    def _file(self, batch: Batch, what: str, refs: Sequence[ObjectRef]) -> tuple[StoredFile, list[FilePart]] | None:
        if not refs:
            return None
        now_ms = self._now()
        file = StoredFile(
            id=f"file-{self._ids.new(now_ms)}",
            tenant=batch.tenant,
            purpose=Purpose.BATCH_OUTPUT,
            filename=f"{batch.id}_{what}.jsonl",
            bytes=sum(ref.bytes for ref in refs),
            created_at_ms=now_ms,
            expires_at_ms=now_ms + batch.output_ttl_s * 1000,
        )
        return file, [FilePart(object=ref) for ref in refs]

    async def _read(self, parts: Sequence[FilePart]) -> list[bytes]:
        return await asyncio.gather(*(self._packing.fetch(part.object) for part in parts))

    async def _save(
        self,
        batch: Batch,
        *,
        chunks: dict[int, str] | None = None,
        results: dict[int, ChunkResult] | None = None,
        files: Sequence[tuple[StoredFile, Sequence[FilePart]]] = (),
        **changes: object,
    ) -> Batch | None:
        """The next version; ``None`` when somebody was faster, whose version the next pass reads."""
        changed = msgspec.structs.replace(batch, version=batch.version + 1, **changes)
        if await self._batches.save_batch(changed, chunks=chunks or {}, results=results or {}, files=files):
            return changed
        self.wanted.set()
        return None

    def _reason(self, batch: Batch, chunk: EndedChunk) -> tuple[str, str]:
        """Why a chunk was not carried out: code and message."""
        if chunk.state is TaskState.CANCELLED or self._is_over(batch) or chunk.error is None:
            return _end(batch, over=self._is_over(batch))
        return "batch_request_failed", chunk.error

    def _now(self) -> int:
        return self._clock.now_ms()


def _end(batch: Batch, *, over: bool) -> tuple[str, str]:
    if over and batch.status is not BatchStatus.CANCELLING:
        return "batch_expired", "This request could not be executed before the completion window expired."
    return "batch_cancelled", "This request was not executed because the batch was cancelled."
