"""Reading, listing, cancelling and explaining tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

import msgspec
from starlette.responses import Response

from sophia.gateway.body import decode, read_body
from sophia.gateway.deps import Call
from sophia.gateway.explain import RECENT_TASKS, explain, mean_run_s
from sophia.gateway.lookup import find_task, wait_until_final
from sophia.gateway.operations import DEFAULT_LIST, MAX_LIST, MAX_WAIT_S
from sophia.gateway.platform import pools_snapshot
from sophia.gateway.query import number, parsed
from sophia.gateway.responses import json_answer
from sophia.gateway.schemas import CancelRequest, TaskList
from sophia.gateway.streaming import while_connected
from sophia.gateway.views import route_name, task_summary, task_view
from sophia.nouns.errors import InvalidInput, Unavailable
from sophia.nouns.submission import Timestamp
from sophia.nouns.task import Durability, TaskRecord, TaskState, TaskType
from sophia.nouns.wording import nearest
from sophia.store.base import TaskFilter


async def get_task(call: Call) -> Response:
    wait_s = number(call, "wait", 0.0, 0.0, MAX_WAIT_S)
    if wait_s > 0:
        record = await while_connected(call.request.receive, wait_until_final(call, wait_s))
    else:
        record = await find_task(call)
    return await _in_full(call, record)


async def _in_full(call: Call, record: TaskRecord) -> Response:
    """The task with its payload and result, wherever they are. Raises ``ObjectMissing`` and ``ObjectDamaged``."""
    view, packing = task_view(record), call.deps.packing
    payload, result = await asyncio.gather(packing.loaded(view.payload), packing.loaded(view.result))
    return json_answer(msgspec.structs.replace(view, payload=payload, result=result))


async def list_tasks(call: Call) -> Response:
    where = TaskFilter(
        tenant=call.tenant,
        states=tuple(TaskState(name) for name in _several(call, "state", [state.value for state in TaskState])),
        types=tuple(_several(call, "type", [kind.value for kind in TaskType])),
        streams=tuple(_streams(call)),
        submitted_after_ms=_time(call, "submitted_after"),
        submitted_before_ms=_time(call, "submitted_before"),
    )
    limit = int(number(call, "limit", DEFAULT_LIST, 1, MAX_LIST, whole=True))
    page = await call.deps.ledger.tasks(where, call.request.query_params.get("cursor") or None, limit)
    return json_answer(TaskList(tasks=[task_summary(record) for record in page.tasks], next_cursor=page.next_cursor))


async def cancel_task(call: Call) -> Response:
    body = await read_body(call.request, call.settings.server.max_body_bytes)
    request = decode(body, CancelRequest) if body.strip() else CancelRequest()
    record = await find_task(call)
    if not record.state.is_final:
        after = await call.deps.queue.cancel(record.task.id, request.reason)
        if after is None and record.task.durability is Durability.LEDGER:
            raise Unavailable(
                "the queue has lost this task and takes it up again soon; cancel it then", retry_after_s=10
            )
        record = after or record
    return await _in_full(call, record)


async def explain_task(call: Call) -> Response:
    record = await find_task(call)
    deps = call.deps
    wait = None if record.state.is_final else await deps.queue.wait_of(record.task.id)
    answer = explain(
        record,
        wait,
        await pools_snapshot(deps.events),
        task_s=mean_run_s(await _recent(call, record)),
        now_ms=deps.clock.now_ms(),
    )
    return json_answer(answer)


async def _recent(call: Call, record: TaskRecord) -> Sequence[TaskRecord]:
    """The last tasks that took the same way, whoever's they were: only the mean of their run times is told."""
    if record.state is not TaskState.QUEUED:
        return ()
    where = TaskFilter(streams=(record.task.route.stream,), states=(TaskState.SUCCEEDED,))
    return (await call.deps.ledger.tasks(where, None, RECENT_TASKS)).tasks


def _several(call: Call, name: str, known: Sequence[str]) -> list[str]:
    values = [part for value in call.request.query_params.getlist(name) for part in value.split(",") if part]
    for value in values:
        if value not in known:
            raise InvalidInput(f"{value[:64]!r} is not known", field=name, mend=nearest(value, known))
    return list(dict.fromkeys(values))


def _streams(call: Call) -> list[str]:
    known = call.settings.queue.streams
    return [route_name(value) for value in _several(call, "stream", [*known, *(f"stream:{name}" for name in known)])]


def _time(call: Call, name: str) -> int | None:
    value = call.request.query_params.get(name)
    if not value:
        return None
    # A plus sign that was not escaped arrives as a space.
    time: datetime = parsed(call, name, value.replace(" ", "+"), Timestamp)
    return round(time.timestamp() * 1000)
