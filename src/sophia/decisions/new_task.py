"""The task that a submission asks for."""

from __future__ import annotations

from datetime import datetime

import msgspec

from sophia.decisions.admit import admitted_budget
from sophia.decisions.route import route
from sophia.nouns import payload_checks
from sophia.nouns.budget import Budget, Reservation
from sophia.nouns.errors import InvalidInput
from sophia.nouns.submission import Submission
from sophia.nouns.task import Priority, Task
from sophia.nouns.wording import nearest
from sophia.settings.model import Settings

_EMBEDDING_TYPES = frozenset({"batch_embedding"})


def build_task(
    submission: Submission, *, task_id: str, tenant: str, settings: Settings, now_ms: int, idempotency_key: str | None
) -> Task:
    """The task that a submission asks for, checked and routed. Raises ``InvalidInput`` that names the field."""
    payload = payload_checks.decode(submission.type, submission.payload, max_texts=settings.embedding.max_texts)
    _check_model(submission.type, payload, settings)
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
    )


def _admitted_budget(
    submission: Submission, payload: msgspec.Struct, tenant: str, settings: Settings
) -> tuple[Budget, Reservation | None]:
    caps = settings.tenants.get(tenant)
    if caps is None:
        return submission.budget, None
    defaults = settings.tasks[submission.type]
    kind = "embedding" if submission.type in _EMBEDDING_TYPES else "chat"
    name = getattr(payload, "model", None) or defaults.model
    model = settings.models.get(name) if name else None
    if model is None:
        of_tier = [m for m in settings.models.values() if m.kind == kind and submission.tier in m.tiers]
        # Which of them answers depends on what is in use: the dearest is what it may cost.
        model = max(of_tier, key=lambda m: m.usd_per_1k_output_tokens + m.usd_per_1k_input_tokens, default=None)
    return admitted_budget(
        submission.type, payload, submission.budget, tenant=caps.budget, defaults=defaults, model=model
    )


def _check_model(task_type: str, payload: msgspec.Struct, settings: Settings) -> None:
    """A named model must be in the configuration, and of the kind that the type needs."""
    name = getattr(payload, "model", None)
    if name is None:
        return
    kind = "embedding" if task_type in _EMBEDDING_TYPES else "chat"
    fitting = [known for known, model in settings.models.items() if model.kind == kind]
    if name not in fitting:
        other = name in settings.models
        message = f"{name!r} is not {'an' if kind == 'embedding' else 'a'} {kind} model" if other else None
        raise InvalidInput(message or f"there is no model {name!r}", field="payload.model", mend=nearest(name, fitting))


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
