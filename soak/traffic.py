"""The users of a run: they submit, submit again, cancel, and watch, and have patience with a platform in trouble."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from soak.plan import Fate, Job
from sophia.events.base import EventLog
from sophia.intake import Intake
from sophia.nouns.errors import Unavailable
from sophia.nouns.event import FINAL_EVENT_KINDS
from sophia.nouns.task import Durability, Task
from sophia.queue.base import TaskQueue

PATIENCE_S = 60.0
PAUSE_S = 0.2
T = TypeVar("T")


class Traffic:
    """``durability`` of all tasks. ``forgetful``: the platform may lose events."""

    def __init__(
        self,
        jobs: Sequence[Job],
        intake: Intake,
        queue: TaskQueue,
        events: EventLog,
        durability: Durability,
        *,
        forgetful: bool = False,
    ) -> None:
        self._jobs = jobs
        self._known = {job.task_id for job in jobs}
        self._intake = intake
        self._queue = queue
        self._events = events
        self._durability = durability
        self._forgetful = forgetful
        self.accepted = 0
        self.final_events: defaultdict[str, list[str]] = defaultdict(list)
        self.problems: list[str] = []

    async def submit(self, over_s: float) -> None:
        """All of them, evenly over a time; cancels those that are to be cancelled."""
        started_s = time.monotonic()
        async with asyncio.TaskGroup() as users:
            for index, job in enumerate(self._jobs):
                ahead_s = over_s * index / len(self._jobs) - (time.monotonic() - started_s)
                if ahead_s > 0:
                    await asyncio.sleep(ahead_s)
                users.create_task(self._one_user(job))

    async def _one_user(self, job: Job) -> None:
        task = job.task(_now_ms(), self._durability)
        await self._accept(task, task.id)
        self.accepted += 1
        if job.fate is Fate.TWICE:
            again = job.task(_now_ms(), self._durability, task_id=f"{2**96 + job.number:032x}")
            await self._accept(again, task.id)
        if job.fate is Fate.CANCELLED:
            await asyncio.sleep(job.cancel_after_s)
            await self._cancel(task.id)

    async def _accept(self, task: Task, accepted_as: str) -> None:
        """Again and again with the same id, until it is accepted."""
        (receipt,) = await patiently(lambda: self._intake.submit([task]))
        if receipt.task_id != accepted_as:
            self.problems.append(f"task {task.id} was accepted as {receipt.task_id}, not as {accepted_as}")

    async def _cancel(self, task_id: str) -> None:
        record = await patiently(lambda: self._queue.cancel(task_id, "changed my mind"))
        if record is None or not (record.state.is_final or record.cancel_requested):
            self.problems.append(f"task {task_id} cannot be cancelled: {record and record.state}")

    @property
    def ended(self) -> int:
        return len(self.final_events)

    async def watch(self) -> None:
        """Follow the platform's events for ever, from the first one."""
        cursor = ""
        while True:
            page = await patiently(lambda at=cursor: self._events.read(at, 1_000, 2.0))  # type: ignore[misc]
            if page.gap and not self._forgetful:
                self.problems.append("events were cut off before they were read")
            for event in page.events:
                if event.kind in FINAL_EVENT_KINDS and event.subject in self._known:
                    self.final_events[event.subject].append(event.kind.value)
            cursor = page.cursor


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call that is safe to repeat until the platform answers it."""
    until_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await call()
        except Unavailable:
            if time.monotonic() > until_s:
                raise
        await asyncio.sleep(PAUSE_S)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
