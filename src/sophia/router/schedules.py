"""Submits what schedules ask for: each occurrence once, whichever router leads."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from sophia.decisions.new_task import build_task
from sophia.decisions.schedule import due, next_occurrence
from sophia.events.base import EventLog
from sophia.nouns.clock import Clock
from sophia.nouns.errors import Conflict, ErrorClass, SophiaError
from sophia.nouns.ids import IdSource
from sophia.nouns.schedule import SCHEDULES_SNAPSHOT, SchedulesSnapshot, ScheduleState
from sophia.nouns.task import Task
from sophia.queue.base import Receipt
from sophia.settings.model import ScheduleSettings, Settings

log = logging.getLogger(__name__)

LONGEST_PAUSE_S = 1.0
"""The wall clock may be set meanwhile; looking at it costs the queue nothing."""
AHEAD_MS = 3_600_000
"""A record that is further ahead of the clock was made while the clock was wrong."""


class Acceptor(Protocol):
    """Of the queue or the intake, what a schedule needs."""

    async def submit(self, tasks: Sequence[Task]) -> list[Receipt]: ...


class Scheduler:
    """One term of leadership. Where a predecessor stopped is read once, at the first pass.

    The record of what is done is written after the submission, so that a crash between the two repeats it; its
    idempotency key (``schedule:NAME:OCCURRENCE``) then gives the task that is there already.
    """

    def __init__(self, settings: Settings, queue: Acceptor, events: EventLog, clock: Clock) -> None:
        self._settings = settings
        self._schedules = {name: entry for name, entry in settings.schedules.items() if entry.enabled}
        self._queue = queue
        self._events = events
        self._clock = clock
        self._ids = IdSource()
        self._states: dict[str, ScheduleState] | None = None
        self._saved: dict[str, ScheduleState] = {}
        self._next_ms: dict[str, int | None] = {}

    async def submit_due(self) -> float:
        """One pass; gives the seconds until the next one is worth while."""
        if self._states is None:
            self._states = await self._begin(self._clock.now_ms())
        trouble: SophiaError | None = None
        for name, schedule in self._schedules.items():
            try:
                await self._submit(name, schedule, self._states)
            except SophiaError as error:
                trouble = error
        await self._save(self._states)
        if trouble is not None:
            raise trouble
        return self._pause_s()

    async def _begin(self, now_ms: int) -> dict[str, ScheduleState]:
        """A schedule that is new, or was changed, begins now: what it would have done before is not missed."""
        body = await self._events.snapshot(SCHEDULES_SNAPSHOT)
        known = msgspec.json.decode(body, type=SchedulesSnapshot).schedules if body else {}
        states = {}
        for name, schedule in self._schedules.items():
            state = known.get(name)
            if state is None or (state.cron, state.time_zone) != (schedule.cron, schedule.time_zone):
                state = ScheduleState(cron=schedule.cron, time_zone=schedule.time_zone, done_until_ms=now_ms)
            elif state.done_until_ms > now_ms + AHEAD_MS:
                log.warning("schedule %s was ahead of the clock; it goes on from now", name)
                state = msgspec.structs.replace(state, done_until_ms=now_ms)
            states[name] = state
        self._saved = known
        await self._save(states)
        return states

    async def _submit(self, name: str, schedule: ScheduleSettings, states: dict[str, ScheduleState]) -> None:
        now_ms, cron, zone = self._clock.now_ms(), schedule.cron, schedule.time_zone
        if name not in self._next_ms:
            self._next_ms[name] = next_occurrence(cron, zone, states[name].done_until_ms)
        next_ms = self._next_ms[name]
        if next_ms is None or next_ms > now_ms:
            return
        after_ms = states[name].done_until_ms
        for at_ms in due(cron, zone, after_ms=after_ms, now_ms=now_ms, catch_up=schedule.catch_up):
            states[name] = await self._run(name, schedule, states[name], at_ms)
        self._next_ms[name] = next_occurrence(cron, zone, now_ms)

    async def _run(self, name: str, schedule: ScheduleSettings, state: ScheduleState, at_ms: int) -> ScheduleState:
        """Raises what may pass; what will not is kept as the occurrence's outcome."""
        task_id: str | None = None
        error: SophiaError | None = None
        try:
            task_id = await self._submit_task(name, schedule, at_ms)
        except Conflict:
            log.info("schedule %s: this occurrence was submitted before the schedule's task was changed", name)
        except SophiaError as refusal:
            if refusal.error_class is not ErrorClass.PERMANENT:
                raise
            log.warning("schedule %s: refused: %s", name, refusal)
            error = refusal
        return msgspec.structs.replace(
            state,
            done_until_ms=at_ms,
            last_ms=at_ms,
            last_task_id=task_id,
            last_error=error.info() if error is not None else None,
        )

    async def _submit_task(self, name: str, schedule: ScheduleSettings, at_ms: int) -> str:
        now_ms = self._clock.now_ms()
        occurrence = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        submission = msgspec.structs.replace(schedule.task, labels={"schedule": name, **schedule.task.labels})
        task = build_task(
            submission,
            task_id=self._ids.new(now_ms),
            tenant=schedule.tenant,
            settings=self._settings,
            now_ms=now_ms,
            idempotency_key=f"schedule:{name}:{occurrence}",
        )
        (receipt,) = await self._queue.submit([task])
        log.info("schedule %s: submitted", name, extra={"task": receipt.task_id, "occurrence": occurrence})
        return receipt.task_id

    async def _save(self, states: dict[str, ScheduleState]) -> None:
        if states != self._saved:
            body = msgspec.json.encode(SchedulesSnapshot(schedules=states))
            await self._events.put_snapshot(SCHEDULES_SNAPSHOT, body)
            self._saved = dict(states)

    def _pause_s(self) -> float:
        coming = [at_ms for at_ms in self._next_ms.values() if at_ms is not None]
        now_ms = self._clock.now_ms()
        return min(max(0, min(coming, default=now_ms + 1_000) - now_ms) / 1000, LONGEST_PAUSE_S)
