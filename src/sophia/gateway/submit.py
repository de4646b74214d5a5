"""Submission: from a request's body to durable tasks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

import msgspec
from starlette.responses import Response

from sophia.decisions.admit import admitted_budget
from sophia.decisions.route import route
from sophia.gateway.body import decode, nearest, read_body
from sophia.gateway.deps import Call
from sophia.gateway.responses import json_answer
from sophia.gateway.schemas import Accepted, BatchAccepted, BatchSubmission, Submission
from sophia.gateway.views import route_view
from sophia.nouns import payload_checks
from sophia.nouns.budget import Budget, Reservation
from sophia.nouns.errors import InvalidInput
from sophia.nouns.task import Priority, Task
from sophia.queue.base import Receipt
from sophia.settings.model import Settings

IDEMPOTENCY_HEADER = "Idempotency-Key"
_KEY = re.compile(r"^[\x20-\x7e]{1,255}$")
_PART = " · "
"""Between a batch's key and a task's index: not ASCII, so that no other key can be taken for it."""
_EMBEDDING_TYPES = frozenset({"batch_embedding"})


async def submit_task(call: Call) -> Response:
    submission = decode(await read_body(call.request, call.settings.server.max_body_bytes), Submission)
    task = _task(call, submission, key=_idempotency_key(call))
    (receipt,) = await call.deps.queue.submit([task])
    accepted = _accepted(task, receipt)
    return json_answer(accepted, 202, {"Location": f"/v1/tasks/{accepted.id}"})


async def submit_batch(call: Call) -> Response:
    batch = decode(await read_body(call.request, call.settings.server.max_body_bytes), BatchSubmission)
    most = call.settings.queue.max_batch
    if len(batch.tasks) > most:
        raise InvalidInput(
            f"{len(batch.tasks)} tasks are too many for one batch", field="tasks", mend=f"at most {most} tasks"
        )
    key = _idempotency_key(call)
    tasks = [
        _task(call, submission, key=None if key is None else f"{key}{_PART}{index}", place=f"tasks[{index}].")
        for index, submission in enumerate(batch.tasks)
    ]
    receipts = await call.deps.queue.submit(tasks)
    return json_answer(BatchAccepted(tasks=_all_accepted(tasks, receipts)), 202)


def _all_accepted(tasks: Sequence[Task], receipts: Sequence[Receipt]) -> list[Accepted]:
    return [_accepted(task, receipt) for task, receipt in zip(tasks, receipts, strict=True)]


def _accepted(task: Task, receipt: Receipt) -> Accepted:
    return Accepted(id=receipt.task_id, state=receipt.state, route=route_view(task.route), duplicate=receipt.duplicate)


def _task(call: Call, submission: Submission, *, key: str | None, place: str = "") -> Task:
    now_ms = call.deps.clock.now_ms()
    try:
        return build_task(
            submission,
            task_id=call.context.ids.new(now_ms),
            tenant=call.tenant,
            settings=call.settings,
            now_ms=now_ms,
            idempotency_key=key,
        )
    except InvalidInput as error:
        raise type(error)(error.message, field=f"{place}{error.field or ''}" or None, mend=error.mend) from error


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


def _idempotency_key(call: Call) -> str | None:
    key = call.request.headers.get(IDEMPOTENCY_HEADER)
    if key is not None and not _KEY.match(key):
        raise InvalidInput(
            "the idempotency key is not usable", field=IDEMPOTENCY_HEADER, mend="1 to 255 printable ASCII characters"
        )
    return key
