"""Nouns as the API shows them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

from sophia.gateway import schemas as api
from sophia.nouns.errors import ErrorClass, ErrorInfo
from sophia.nouns.pool import Instance, InstanceState, PoolsSnapshot, PoolStatus
from sophia.nouns.submission import PriorityName
from sophia.nouns.task import Attempt, Route, TaskRecord
from sophia.nouns.title import title_of
from sophia.nouns.usage import Usage
from sophia.queue.base import Poison, StreamStats

POISON_CHARACTERS = 4_000
_STREAM = "stream:"


def at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def at_or_none(ms: int | None) -> datetime | None:
    return None if ms is None else at(ms)


def stream_name(route: str) -> str:
    """``planning`` as ``stream:planning``."""
    return route if route.startswith(_STREAM) else _STREAM + route


def route_name(stream: str) -> str:
    return stream.removeprefix(_STREAM)


def route_view(route: Route) -> api.RouteView:
    return api.RouteView(stream=stream_name(route.stream), target=route.target, reason=route.reason)


def usage_view(usage: Usage) -> api.UsageView:
    return api.UsageView(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        embedding_tokens=usage.embedding_tokens,
        model_calls=usage.model_calls,
        run_s=usage.run_s,
        cost_usd=usage.cost_usd,
    )


def error_view(error: ErrorInfo | None) -> api.ErrorView | None:
    if error is None:
        return None
    return api.ErrorView(
        code=error.code, message=error.message, retryable=error.error_class is not ErrorClass.PERMANENT
    )


def attempt_view(attempt: Attempt) -> api.AttemptView:
    return api.AttemptView(
        number=attempt.number,
        worker=attempt.worker,
        pool=attempt.pool,
        started_at=at(attempt.started_at_ms),
        ended_at=at_or_none(attempt.ended_at_ms),
        outcome=attempt.outcome,
        error=error_view(attempt.error),
        usage=usage_view(attempt.usage),
    )


def _common(record: TaskRecord) -> dict[str, Any]:
    task = record.task
    return {
        "id": task.id,
        "type": task.type,
        "tenant": task.tenant,
        "state": record.state,
        "tier": task.tier,
        "priority": cast(PriorityName, task.priority.label),
        "route": route_view(task.route),
        "title": title_of(task),
        "submitted_at": at(task.submitted_at_ms),
        "updated_at": at(record.updated_at_ms),
        "finished_at": at_or_none(record.finished_at_ms),
        "usage": usage_view(record.usage),
        "error": error_view(record.error),
        "labels": task.labels,
    }


def task_summary(record: TaskRecord) -> api.TaskSummary:
    return api.TaskSummary(**_common(record), attempts=len(record.attempts))


def task_view(record: TaskRecord) -> api.TaskView:
    task = record.task
    return api.TaskView(
        **_common(record),
        payload=task.payload,
        budget=task.budget,
        due_at=at_or_none(record.due_at_ms),
        deadline_at=at_or_none(task.deadline_at_ms),
        cancel_requested=record.cancel_requested,
        max_attempts=task.max_attempts,
        attempts=[attempt_view(attempt) for attempt in record.attempts],
        result=record.result,
        durability=task.durability,
    )


def queue_view(stats: list[StreamStats], poison: int, now_ms: int) -> api.QueueView:
    return api.QueueView(
        streams=[_stream_view(entry) for entry in stats],
        waiting=_sum([entry.waiting for entry in stats]),
        running=_sum([entry.running for entry in stats]),
        delayed=_sum([entry.delayed for entry in stats]),
        retrying=_sum([entry.retrying for entry in stats]),
        dead=_sum([entry.dead for entry in stats]),
        poison=poison,
        at=at(now_ms),
    )


def poison_view(poison: Poison) -> api.PoisonList:
    entries = [
        api.PoisonView(
            id=entry.id,
            stream=stream_name(entry.stream),
            priority=cast(PriorityName, entry.priority),
            set_aside_at=at(entry.set_aside_at_ms),
            content=entry.content[:POISON_CHARACTERS],
        )
        for entry in poison.newest
    ]
    return api.PoisonList(total=poison.total, entries=entries)


def _stream_view(stats: StreamStats) -> api.StreamView:
    return api.StreamView(
        stream=stream_name(stats.stream),
        priority=cast(PriorityName, stats.priority),
        waiting=stats.waiting,
        running=stats.running,
        delayed=stats.delayed,
        retrying=stats.retrying,
        backlog=_sum([stats.waiting, stats.running, stats.delayed, stats.retrying]),
        oldest_age_s=stats.oldest_age_s,
        first_entry=stats.first_entry,
        last_entry=stats.last_entry,
        groups=list(stats.groups),
    )


def _sum(parts: list[int | None]) -> int | None:
    """Unknown as soon as one part is."""
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def pools_view(snapshot: PoolsSnapshot | None) -> api.PoolsView:
    if snapshot is None:
        return api.PoolsView(pools=[], at=None)
    return api.PoolsView(pools=[_pool_view(pool, snapshot.at_ms) for pool in snapshot.pools], at=at(snapshot.at_ms))


def _pool_view(pool: PoolStatus, now_ms: int) -> api.PoolView:
    return api.PoolView(
        name=pool.name,
        provider=pool.provider,
        streams=[stream_name(name) for name in pool.streams],
        min=pool.min,
        max=pool.max,
        desired=pool.desired,
        reason=pool.reason,
        waiting=pool.waiting,
        running=pool.running,
        idle_timeout_s=pool.idle_timeout_s,
        instances=[_instance_view(instance, now_ms) for instance in pool.instances],
        cordoned=pool.cordoned,
        usd_per_hour=pool.usd_per_hour,
        spent_usd_today=pool.spent_usd_today,
        spent_usd_month=pool.spent_usd_month,
        max_usd_per_day=pool.max_usd_per_day,
        max_usd_per_month=pool.max_usd_per_month,
    )


def _instance_view(instance: Instance, now_ms: int) -> api.InstanceView:
    working = instance.state is InstanceState.READY and (instance.busy or 0) > 0
    state = "working" if working else instance.state.value
    return api.InstanceView(
        id=instance.id,
        pool=instance.pool,
        state=cast(Any, state),
        instance_type=instance.instance_type,
        region=instance.region,
        price_usd_per_hour=instance.price_usd_per_hour,
        requested_at=at(instance.requested_at_ms),
        ready_at=at_or_none(instance.ready_at_ms),
        busy=instance.busy,
        slots=instance.slots,
        reason=instance.reason,
        cost_usd=round(instance.cost_usd(now_ms), 6),
    )
