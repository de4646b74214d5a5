"""One attempt under way: the handler, and why it was stopped."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from sophia.decisions.retry import after_error
from sophia.inference.base import Models
from sophia.nouns.clock import Clock
from sophia.nouns.errors import ErrorInfo, LeaseLost, SophiaError, TimedOut, Unavailable, error_info
from sophia.nouns.task import AttemptOutcome, Task
from sophia.objects.packing import Packing
from sophia.queue.base import Emission, Lease, Settlement, WorkQueue
from sophia.settings.model import Settings
from sophia.worker.attempt_context import AttemptContext
from sophia.worker.context import Handler
from sophia.worker.handlers import decode_payload

T = TypeVar("T")
log = logging.getLogger(__name__)

PATIENCE_S = 60.0
"""How long an attempt waits for a queue or an object store that does not answer before its result is given up (and made
again)."""


class Stop(StrEnum):
    CANCELLED = "cancelled"
    LOST = "lost"
    DRAINED = "drained"


class RunningAttempt:
    """Runs one lease's handler to its settlement. ``stop`` may be called at any time; the first reason holds."""

    def __init__(
        self,
        lease: Lease,
        pool: str,
        *,
        queue: WorkQueue,
        models: Models,
        settings: Settings,
        handlers: Mapping[str, Handler],
        clock: Clock,
        packing: Packing,
        on_handled: Callable[[], None] = lambda: None,
    ) -> None:
        self.lease = lease
        self.handled = False
        """The handler is through; what is left is to record what it gave."""
        self.extended_at_s = clock.monotonic_s()
        """When the lease was last known to be held."""
        self._pool = pool
        self._queue = queue
        self._settings = settings
        self._handlers = handlers
        self._clock = clock
        self._packing = packing
        self._on_handled = on_handled
        self._why: Stop | None = None
        self._work: asyncio.Task[Any] | None = None
        self._context = AttemptContext(
            lease.task,
            lease.attempt,
            settings,
            models,
            self._emit,
            clock,
            spent_before=lease.spent_before,
            check_lease=self._check_lease,
            packing=packing,
        )

    def stop(self, why: Stop) -> None:
        self._why = self._why or why
        if self._work is not None:
            self._work.cancel()

    async def run(self) -> AttemptOutcome | None:
        """Gives how it ended; ``None`` when the attempt was no longer ours and nothing was settled."""
        started_s = self._clock.monotonic_s()
        self._work = asyncio.create_task(
            self._work_to_result(), name=f"attempt {self.lease.task.id}/{self.lease.attempt}"
        )
        if self._why is not None:
            self._work.cancel()
        try:
            await _ended(self._work)
        except asyncio.CancelledError:
            self.stop(Stop.DRAINED)
            await _ended(self._work)
            raise
        self.handled = True
        self._on_handled()
        settlement = self._settlement(self._work)
        if settlement is None:
            return None
        run_s = round(self._clock.monotonic_s() - started_s, 3)
        settlement = msgspec.structs.replace(
            settlement, usage=msgspec.structs.replace(self._context.usage, run_s=run_s)
        )
        return settlement.outcome if await self._settle(settlement) else None

    async def _work_to_result(self) -> Any:
        """What is to be recorded as the result. Loading and storing large values is not the handler's time."""
        task = await self._packing.unpacked(self.lease.task)
        result = await self._handle(task)
        return await self._patiently(lambda: self._packing.result(result))

    async def _handle(self, task: Task) -> Any:
        handler = self._handlers.get(task.type)
        if handler is None:
            raise LookupError(f"this worker has no handler for {task.type!r}")
        timeout_s = task.timeout_s or self._settings.tasks[task.type].timeout_s
        limit = asyncio.timeout(timeout_s)
        try:
            async with limit:
                return await handler(self._context, decode_payload(task))
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise TimedOut(f"the attempt ran longer than {timeout_s:g} s") from error

    def _settlement(self, work: asyncio.Task[Any]) -> Settlement | None:
        if not work.cancelled() and work.exception() is None:
            # It may have finished just before it was told to stop: what was paid for is kept.
            return None if self._why is Stop.LOST else self._ended(AttemptOutcome.SUCCEEDED, result=work.result())
        if self._why is Stop.LOST or isinstance(_exception(work), LeaseLost):
            return None
        if self._why is Stop.CANCELLED:
            return self._ended(AttemptOutcome.CANCELLED)
        if self._why is Stop.DRAINED:
            return self._ended(AttemptOutcome.HANDED_BACK)
        error = _exception(work) or Unavailable("the attempt was interrupted")
        if not isinstance(error, SophiaError):
            log.error("handler failed", exc_info=error, extra={"task": self.lease.task.id})
        return self._failed(error_info(error))

    def _failed(self, error: ErrorInfo) -> Settlement:
        verdict = after_error(
            error,
            attempts_counted=self.lease.attempts_counted,
            max_attempts=self.lease.task.max_attempts,
            settings=self._settings.queue.retry,
            chance=random.random(),  # noqa: S311 - jitter
        )
        return self._ended(verdict.outcome, error=error, retry_in_s=verdict.retry_in_s)

    def _ended(
        self, outcome: AttemptOutcome, *, result: Any = None, error: ErrorInfo | None = None, retry_in_s: float = 0.0
    ) -> Settlement:
        return Settlement(
            lease=self.lease, outcome=outcome, pool=self._pool, result=result, error=error, retry_in_s=retry_in_s
        )

    async def _settle(self, settlement: Settlement) -> bool:
        async def settle() -> list[bool]:
            return await self._queue.settle([settlement])

        try:
            (applied,) = await self._patiently(settle)
        except Unavailable:
            log.error("a result could not be recorded", extra={"task": self.lease.task.id})
            return False
        if not applied:
            log.warning("a late result was refused", extra={"task": self.lease.task.id, "attempt": self.lease.attempt})
        return applied

    def _check_lease(self) -> None:
        """A process that was stopped and woken must not spend before its next heartbeat has told it what it missed."""
        if self._clock.monotonic_s() - self.extended_at_s > self._settings.queue.lease_s:
            self._why = self._why or Stop.LOST
            raise LeaseLost("the lease has expired while this worker was not looking")

    async def _emit(self, kind: str, data: dict[str, Any]) -> None:
        async def emit() -> list[bool]:
            return await self._queue.emit([Emission(lease=self.lease, kind=kind, data=data)])

        (written,) = await self._patiently(emit)
        if not written:
            self._why = self._why or Stop.LOST
            raise LeaseLost("the attempt is no longer this worker's")

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Wait out a queue or an object store that restarts: the work is done and paid for."""
        until_s = self._clock.monotonic_s() + PATIENCE_S
        while True:
            try:
                return await call()
            except Unavailable:
                if self._clock.monotonic_s() > until_s:
                    raise
            await asyncio.sleep(random.uniform(0.2, 1.0))  # noqa: S311 - jitter


async def _ended(work: asyncio.Task[Any]) -> None:
    """``asyncio.wait`` for one, without what it spends on being for many."""
    if work.done():
        return
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def tell(_: asyncio.Task[Any]) -> None:
        if not over.done():
            over.set_result(None)

    work.add_done_callback(tell)
    await over


def _exception(work: asyncio.Task[Any]) -> BaseException | None:
    return None if work.cancelled() else work.exception()
