"""Submission: from a request's body to durable tasks."""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.responses import Response

from sophia.decisions.new_task import build_task
from sophia.gateway.body import decode, read_body
from sophia.gateway.deps import Call
from sophia.gateway.responses import json_answer
from sophia.gateway.schemas import Accepted, BatchAccepted, BatchSubmission
from sophia.gateway.views import route_view
from sophia.nouns.errors import InvalidInput
from sophia.nouns.submission import Submission
from sophia.nouns.task import Task
from sophia.queue.base import Receipt

IDEMPOTENCY_HEADER = "Idempotency-Key"
_KEY = re.compile(r"^[\x20-\x7e]{1,255}$")
_PART = " · "
"""Between a batch's key and a task's index: not ASCII, so that no other key can be taken for it."""


async def submit_task(call: Call) -> Response:
    submission = decode(await read_body(call.request, call.settings.server.max_body_bytes), Submission)
    task = _task(call, submission, key=_idempotency_key(call))
    (receipt,) = await call.deps.intake.submit([task])
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
    receipts = await call.deps.intake.submit(tasks)
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


def _idempotency_key(call: Call) -> str | None:
    key = call.request.headers.get(IDEMPOTENCY_HEADER)
    if key is not None and not _KEY.match(key):
        raise InvalidInput(
            "the idempotency key is not usable", field=IDEMPOTENCY_HEADER, mend="1 to 255 printable ASCII characters"
        )
    return key
