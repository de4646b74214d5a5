"""Why a task is where it is, when it should start, and what would change that. Pure: all it needs comes in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from sophia.gateway.schemas import Explanation
from sophia.gateway.views import at, at_or_none, route_view, stream_name
from sophia.nouns.pool import InstanceState, PoolsSnapshot, PoolStatus
from sophia.nouns.task import Priority, TaskRecord, TaskState
from sophia.queue.base import Wait

RECENT_TASKS = 50
"""How many finished tasks the mean run time is taken from."""
STALE_MS = 60_000
"""A report of the pools older than this says nothing about now."""


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """When a waiting task should start; ``basis`` says from what, or why it cannot be said."""

    expected: datetime | None
    basis: str


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """The instances that serve a task's stream."""

    pools: tuple[PoolStatus, ...]
    slots: int
    free: int | None
    """``None`` when an instance has not said how busy it is."""
    coming: int
    """Instances requested or booting."""


def explain(
    record: TaskRecord, wait: Wait | None, pools: PoolsSnapshot | None, *, task_s: float | None, now_ms: int
) -> Explanation:
    """``task_s``: mean run time of recent tasks on the same stream, seconds; ``None`` when there were none."""
    capacity = capacity_for(record.task.route.stream, pools, now_ms)
    position = wait.ahead if wait is not None and record.state is TaskState.QUEUED else None
    outlook = _outlook(record, position, capacity, task_s, now_ms)
    return Explanation(
        id=record.task.id,
        state=record.state,
        summary=_summary(record, position, capacity, now_ms),
        position=position,
        expected_start_at=outlook.expected,
        basis=outlook.basis,
        would_help=_would_help(record, position, capacity),
        route=route_view(record.task.route),
    )


def mean_run_s(recent: Sequence[TaskRecord]) -> float | None:
    """Mean run of the last attempts, seconds; ``None`` of no tasks."""
    runs = [record.attempts[-1].usage.run_s for record in recent if record.attempts]
    return sum(runs) / len(runs) if runs else None


def capacity_for(stream: str, pools: PoolsSnapshot | None, now_ms: int) -> Capacity | None:
    """``None`` when the pool manager has not reported lately."""
    if pools is None or now_ms - pools.at_ms > STALE_MS:
        return None
    serving = tuple(pool for pool in pools.pools if stream in pool.streams)
    instances = [instance for pool in serving for instance in pool.instances]
    ready = [instance for instance in instances if instance.state is InstanceState.READY]
    busy = [instance.busy for instance in ready]
    known = [count for count in busy if count is not None]
    slots = sum(instance.slots for instance in ready)
    coming = (InstanceState.REQUESTED, InstanceState.BOOTING)
    return Capacity(
        pools=serving,
        slots=slots,
        free=max(0, slots - sum(known)) if len(known) == len(busy) else None,
        coming=sum(instance.state in coming for instance in instances),
    )


def _outlook(
    record: TaskRecord, position: int | None, capacity: Capacity | None, task_s: float | None, now_ms: int
) -> Outlook:
    if record.state is TaskState.SCHEDULED:
        return Outlook(expected=at_or_none(record.due_at_ms), basis="its `run_at`; it may then wait for a free slot")
    if record.state is TaskState.RETRYING:
        return Outlook(
            expected=at_or_none(record.due_at_ms),
            basis="the pause before its next attempt; it may then wait for a free slot",
        )
    if record.state is not TaskState.QUEUED:
        return Outlook(expected=None, basis="it does not wait")
    if position is None:
        return Outlook(expected=None, basis="unknown: its place in the queue is not known")
    if capacity is None:
        return Outlook(expected=None, basis="unknown: the pool manager has not reported lately")
    return _outlook_of_queued(position, capacity, task_s, now_ms)


def _outlook_of_queued(position: int, capacity: Capacity, task_s: float | None, now_ms: int) -> Outlook:
    if capacity.slots == 0:
        coming = f"; {capacity.coming} starting" if capacity.coming else ""
        return Outlook(expected=None, basis=f"unknown: no instance that serves its stream is ready{coming}")
    if capacity.free is not None and position < capacity.free:
        return Outlook(expected=at(now_ms), basis=f"{capacity.free} of {capacity.slots} slots are free")
    if task_s is None:
        return Outlook(expected=None, basis="unknown: no task of its stream has finished lately")
    # Every slot ends a task each `task_s` on average, so this task starts with the (ahead - free + 1)th of those ends.
    ends = position - (capacity.free or 0) + 1
    wait_s = ends * task_s / capacity.slots
    return Outlook(
        expected=at(now_ms + round(wait_s * 1000)),
        basis=f"{position} ahead, {capacity.slots} slots, {task_s:.1f} s a task on average of recent ones",
    )


def _summary(record: TaskRecord, position: int | None, capacity: Capacity | None, now_ms: int) -> str:
    task, state = record.task, record.state
    way = f"{stream_name(task.route.stream)} for a {task.route.target.value} worker ({task.route.reason})"
    if state is TaskState.SCHEDULED:
        return (
            f"It is not due yet: it was asked to start no earlier than {_when(record.due_at_ms)}. It will go to {way}."
        )
    if state is TaskState.QUEUED:
        where = f"{stream_name(task.route.stream)} for a {task.route.target.value} worker"
        return f"It waits in {where}, at priority {task.priority.label}; {_ahead(position)}. {_served(capacity)}"
    if state is TaskState.RUNNING:
        return _running(record, now_ms)
    error = f"{record.error.code}: {record.error.message}" if record.error else "no reason was recorded"
    made = _count(len(record.attempts), "attempt")
    if state is TaskState.RETRYING:
        return f"{made} did not succeed ({error}). The next one is due at {_when(record.due_at_ms)}."
    if state is TaskState.SUCCEEDED:
        return f"It succeeded after {made}, {_seconds(record.finished_at_ms, task.submitted_at_ms)} after it was submitted."
    if state is TaskState.CANCELLED:
        return f"It was cancelled{f' ({error})' if record.error else ''} after {made}."
    if state is TaskState.DEAD:
        return f"It was given up after {made} of at most {task.max_attempts} ({error}). It can be redriven."
    return f"It failed after {made} in a way that a retry would not mend ({error})."


def _running(record: TaskRecord, now_ms: int) -> str:
    if not record.attempts:
        return "It runs."
    attempt = record.attempts[-1]
    pool = f" of pool {attempt.pool}" if attempt.pool else ""
    asked = " It was asked to stop." if record.cancel_requested else ""
    return (
        f"Attempt {attempt.number} runs on {attempt.worker}{pool} for {_seconds(now_ms, attempt.started_at_ms)}.{asked}"
    )


def _ahead(position: int | None) -> str:
    if position is None:
        return "how many are ahead of it is not known"
    return "nothing is ahead of it" if position == 0 else f"{_count(position, 'task')} ahead of it"


def _served(capacity: Capacity | None) -> str:
    if capacity is None:
        return "The pool manager has not reported lately, so what serves it is not known."
    if not capacity.pools:
        return "No pool serves this stream."
    names = " and ".join(pool.name for pool in capacity.pools)
    who = f"Pool {names} serves it" if len(capacity.pools) == 1 else f"Pools {names} serve it"
    free = "" if capacity.free is None or not capacity.slots else f", {capacity.free or 'none'} of them free"
    coming = f"; {_count(capacity.coming, 'instance')} starting" if capacity.coming else ""
    return f"{who} with {_count(capacity.slots, 'slot')}{free}{coming}.{_plans(capacity.pools)}"


def _plans(pools: Sequence[PoolStatus]) -> str:
    """What the pool manager says about its pools, each named where there are several."""
    several = len(pools) > 1
    return "".join(
        f" Its plan{f' for {pool.name}' if several else ''}: {pool.reason}." for pool in pools if pool.reason
    )


def _would_help(record: TaskRecord, position: int | None, capacity: Capacity | None) -> list[str]:
    task, state = record.task, record.state
    if state is TaskState.SCHEDULED:
        return ["an earlier `run_at`"]
    if state in (TaskState.FAILED, TaskState.DEAD):
        return ["mend what the error names and submit it again"]
    if state is not TaskState.QUEUED:
        return []
    help_: list[str] = []
    if position and task.priority is not Priority.CRITICAL:
        better = [priority.label for priority in Priority if priority < task.priority]
        help_.append(f"a higher priority ({', '.join(better)})")
    if capacity is None:
        help_.append("a running pool manager (`sophia router`)")
    elif not capacity.pools:
        help_.append(f"a pool that lists `{task.route.stream}` among its streams")
    else:
        help_ += [
            f"a higher `max` of pool {pool.name} (now {pool.max}, all in use)"
            for pool in capacity.pools
            if _live(pool) >= pool.max and not capacity.free
        ]
    if task.deadline_at_ms is not None:
        help_.append(f"note: it fails when it has not started by {_when(task.deadline_at_ms)}")
    return help_


def _live(pool: PoolStatus) -> int:
    return sum(instance.state is not InstanceState.TERMINATED for instance in pool.instances)


def _when(ms: int | None) -> str:
    return "an unknown time" if ms is None else at(ms).strftime("%Y-%m-%d %H:%M:%S UTC")


def _seconds(later_ms: int | None, earlier_ms: int) -> str:
    return "an unknown time" if later_ms is None else f"{max(0, later_ms - earlier_ms) / 1000:.1f} s"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
