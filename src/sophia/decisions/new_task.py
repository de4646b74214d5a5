"""The task that a submission asks for."""

from __future__ import annotations

from datetime import datetime

import msgspec

from sophia.decisions.admit import admitted_budget
from sophia.decisions.route import route
from sophia.nouns.budget import Budget, Reservation
from sophia.nouns.errors import InvalidInput
from sophia.nouns.submission import Submission
from sophia.nouns.task import Priority, Task
from sophia.settings.model import Settings
from sophia.settings.payloads import EMBEDDING_TYPES, checked_payload


def build_task(
    submission: Submission, *, task_id: str, tenant: str, settings: Settings, now_ms: int, idempotency_key: str | None
) -> Task:
    """The task that a submission asks for, checked and routed. Raises ``InvalidInput`` that names the field."""
    payload = checked_payload(submission, settings)
    run_at_ms, deadline_ms = _ms(submission.run_at), _ms(submission.deadline_at)
    _check_times(run_at_ms, deadline_ms, now_ms)
    budget, reserved = _admitted_budget(submission, payload, tenant, settings)
    return Task(
        id=task_id,
        type=submission.type,
        payload=submission.payload,
        route=route(type=submission.type, tier=submission.tier, payload=payload, rules=settings.routes),
        submitted_at_ms=now_ms,
        tenant=tenant,
        tier=submission.tier,
        priority=Priority[submission.priority.upper()],
        budget=budget,
        reserved=reserved,
        run_at_ms=run_at_ms,
        deadline_at_ms=deadline_ms,
        timeout_s=submission.timeout_s,
        max_attempts=submission.max_attempts or settings.queue.retry.max_attempts,
        idempotency_key=idempotency_key,
        labels=submission.labels,
        durability=submission.durability,
    )


def _admitted_budget(
    submission: Submission, payload: msgspec.Struct, tenant: str, settings: Settings
) -> tuple[Budget, Reservation | None]:
    caps = settings.tenants.get(tenant)
    if caps is None:
        return submission.budget, None
    defaults = settings.tasks[submission.type]
    kind = "embedding" if submission.type in EMBEDDING_TYPES else "chat"
    name = getattr(payload, "model", None) or defaults.model
    model = settings.models.get(name) if name else None
    if model is None:
        of_tier = [m for m in settings.models.values() if m.kind == kind and submission.tier in m.tiers]
        # Which of them answers depends on what is in use: the dearest is what it may cost.
        model = max(of_tier, key=lambda m: m.usd_per_1k_output_tokens + m.usd_per_1k_input_tokens, default=None)
    return admitted_budget(
        submission.type, payload, submission.budget, tenant=caps.budget, defaults=defaults, model=model
    )


def _check_times(run_at_ms: int | None, deadline_ms: int | None, now_ms: int) -> None:
    if deadline_ms is None:
        return
    if deadline_ms <= now_ms:
        raise InvalidInput("the deadline has passed already", field="deadline_at", mend="a time to come")
    if run_at_ms is not None and deadline_ms <= run_at_ms:
        raise InvalidInput(
            "the deadline is not after `run_at`, so the task could never start",
            field="deadline_at",
            mend="a time after `run_at`",
        )


def _ms(time: datetime | None) -> int | None:
    return None if time is None else round(time.timestamp() * 1000)
