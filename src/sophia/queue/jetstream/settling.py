"""How attempts end, as their workers say."""

from __future__ import annotations

from typing import Any

import msgspec

from sophia.nouns.event import EventKind
from sophia.nouns.task import Attempt, AttemptOutcome, TaskState
from sophia.queue.base import Settlement
from sophia.queue.jetstream.record import Known
from sophia.queue.jetstream.step import Spending, Step, cancelled, event_of, finish, index, later, queue


def settle(known: Known, settlement: Settlement, now_ms: int, newest_event: int, stale: tuple[int, ...]) -> Step:
    """End an attempt; the caller has seen that it is the current one."""
    was, usage = known.record, settlement.usage
    attempt = Attempt(
        number=was.attempt,
        worker=was.worker,
        pool=settlement.pool,
        started_at_ms=settlement.lease.leased_at_ms,
        # The server's start plus the worker's monotonic duration: workers' wall clocks may drift.
        ended_at_ms=settlement.lease.leased_at_ms + round(usage.run_s * 1000),
        outcome=settlement.outcome,
        error=settlement.error,
        usage=usage,
    )
    back_usd, back_tokens = min(was.held_nano_usd, usage.cost_nano_usd), min(was.held_tokens, usage.total_tokens)
    ended = Known(
        msgspec.structs.replace(
            was,
            events=newest_event,
            history=(*was.history, attempt),
            settled=settlement_mark(settlement),
            held_nano_usd=was.held_nano_usd - back_usd,
            held_tokens=was.held_tokens - back_tokens,
        ),
        known.revision,
    )
    step = _settled(ended, settlement, now_ms)
    spending = _sum(
        Spending(was.task.tenant, was.budget_day, usage.cost_nano_usd, usage.total_tokens, -back_usd, -back_tokens),
        step.spending,
    )
    return msgspec.structs.replace(step, stale=stale, spending=spending if was.budget_day else None)


def settlement_mark(settlement: Settlement) -> str:
    return f"{settlement.lease.attempt} {settlement.outcome.value} {settlement.lease.worker}"


def _settled(known: Known, settlement: Settlement, now_ms: int) -> Step:
    was, outcome, error = known.record, settlement.outcome, settlement.error
    data: dict[str, Any] = {"attempt": was.attempt, "usage": settlement.usage}
    if error is not None:
        data["error"] = error
    if was.cancel_reason is not None and outcome in (AttemptOutcome.RETRYING, AttemptOutcome.HANDED_BACK):
        outcome = AttemptOutcome.CANCELLED
    if outcome is AttemptOutcome.SUCCEEDED:
        return finish(known, TaskState.SUCCEEDED, data, now_ms, error=None, new_event=True, result=settlement.result)
    if outcome is AttemptOutcome.FAILED:
        return finish(known, TaskState.FAILED, data, now_ms, error=error, new_event=True)
    if outcome is AttemptOutcome.DEAD:
        return finish(known, TaskState.DEAD, data, now_ms, error=error, new_event=True)
    if outcome is AttemptOutcome.CANCELLED:
        reason = was.cancel_reason or "cancelled"
        return finish(known, TaskState.CANCELLED, {"reason": reason}, now_ms, error=cancelled(reason), new_event=True)
    if outcome is AttemptOutcome.RETRYING:
        return _retry(known, settlement, data, now_ms)
    if outcome is AttemptOutcome.HANDED_BACK:
        data["from"] = "handed_back"
        return queue(known, now_ms, EventKind.TASK_QUEUED, data, new_event=True, counted=was.counted - 1)
    raise ValueError(f"an attempt cannot end as {outcome.value}")


def _retry(known: Known, settlement: Settlement, data: dict[str, Any], now_ms: int) -> Step:
    record = msgspec.structs.replace(
        known.record,
        state=TaskState.RETRYING,
        worker="",
        error=settlement.error,
        due_at_ms=now_ms + max(0, round(settlement.retry_in_s * 1000)),
        updated_at_ms=later(known.record, now_ms),
        events=known.record.events + 1,
    )
    event = event_of(record, EventKind.TASK_RETRYING, {**data, "retry_in_s": settlement.retry_in_s}, new_event=True)
    return Step(before=known, after=record, puts=(*index(record), event))


def _sum(first: Spending, second: Spending | None) -> Spending:
    if second is None:
        return first
    return msgspec.structs.replace(
        first,
        reserve_nano_usd=first.reserve_nano_usd + second.reserve_nano_usd,
        reserve_tokens=first.reserve_tokens + second.reserve_tokens,
    )
