"""Dead letters: what used up its attempts, and sending it back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starlette.responses import Response

from sophia.gateway.body import decode, read_body
from sophia.gateway.deps import Call
from sophia.gateway.operations import DEFAULT_LIST, MAX_LIST
from sophia.gateway.query import number
from sophia.gateway.responses import json_answer
from sophia.gateway.schemas import DeadLetters, NotRedriven, Redriven, RedriveRequest
from sophia.gateway.views import task_summary
from sophia.nouns.errors import ErrorInfo, InvalidInput
from sophia.nouns.ids import is_task_id

MAX_REDRIVE = 1_000
_STEP = 100
"""Read at a time: a task may be megabytes."""


async def list_dead_letters(call: Call) -> Response:
    limit = int(number(call, "limit", DEFAULT_LIST, 1, MAX_LIST, whole=True))
    records = await call.deps.queue.dead(call.tenant, limit + 1)
    return json_answer(
        DeadLetters(tasks=[task_summary(record) for record in records[:limit]], more=len(records) > limit)
    )


async def redrive(call: Call) -> Response:
    request = decode(await read_body(call.request, call.settings.server.max_body_bytes), RedriveRequest)
    if (request.ids is None) is not request.all:
        raise InvalidInput("give either `ids` or `all`", field="ids", mend='{"ids": ["…"]} or {"all": true}')
    return json_answer(await _all(call) if request.ids is None else await _some(call, request.ids))


async def _some(call: Call, ids: Sequence[str]) -> Redriven:
    for index, task_id in enumerate(ids):
        if not is_task_id(task_id):
            raise InvalidInput(
                f"{task_id[:64]!r} is not a task id", field=f"ids[{index}]", mend="ids from GET /v1/dead-letters"
            )
    asked = list(dict.fromkeys(ids))
    outcome = await call.deps.queue.redrive(call.tenant, asked)
    known = {*outcome.went, *outcome.refused}
    left = await _reasons(call, [task_id for task_id in asked if task_id not in known])
    return Redriven(redriven=outcome.went, not_redriven=[*_refused(outcome.refused), *left], more=False)


def _refused(refused: Mapping[str, ErrorInfo]) -> list[NotRedriven]:
    return [
        NotRedriven(id=task_id, reason=error.message, code=error.code, retry_after_s=error.retry_after_s)
        for task_id, error in refused.items()
    ]


async def _reasons(call: Call, ids: Sequence[str]) -> list[NotRedriven]:
    found = []
    for task_id, record in zip(ids, await call.deps.queue.get(ids) if ids else [], strict=True):
        known = record is not None and record.task.tenant == call.tenant
        reason = f"it is {record.state}" if record is not None and known else "there is no such dead letter"
        found.append(NotRedriven(id=task_id, reason=reason))
    return found


async def _all(call: Call) -> Redriven:
    """Newest first. What a budget has no room for stays, and does not hold up what is behind it."""
    queue, went = call.deps.queue, list[str]()
    refused: dict[str, ErrorInfo] = {}
    while len(went) + len(refused) < MAX_REDRIVE:
        dead = [record.task.id for record in await queue.dead(call.tenant, _STEP + len(refused))]
        step = await queue.redrive(call.tenant, [task_id for task_id in dead if task_id not in refused])
        went += step.went
        refused |= step.refused
        if not (step.went or step.refused):
            break
    left = [record.task.id for record in await queue.dead(call.tenant, len(refused) + 1)]
    return Redriven(redriven=went, not_redriven=_refused(refused), more=any(task_id not in refused for task_id in left))
