"""The queue, the pools, and what tasks there are."""

from __future__ import annotations

import functools
import inspect

import msgspec
from starlette.responses import Response

from sophia.events.base import EventLog
from sophia.gateway.deps import Call
from sophia.gateway.operations import DEFAULT_LIST, MAX_LIST
from sophia.gateway.query import number
from sophia.gateway.responses import json_answer
from sophia.gateway.schemas import TypeInfo, TypeList
from sophia.gateway.views import poison_view, pools_view, queue_view
from sophia.nouns.payloads import PAYLOADS, RESULTS
from sophia.nouns.pool import PoolsSnapshot

POOLS_SNAPSHOT = "pools"


async def get_queue(call: Call) -> Response:
    stats = await call.deps.queue.stats()
    poison = await call.deps.poison.poison(0)
    return json_answer(queue_view(stats, poison.total, call.deps.clock.now_ms()))


async def list_poison(call: Call) -> Response:
    limit = int(number(call, "limit", DEFAULT_LIST, 1, MAX_LIST, whole=True))
    return json_answer(poison_view(await call.deps.poison.poison(limit)))


async def get_pools(call: Call) -> Response:
    return json_answer(pools_view(await pools_snapshot(call.deps.events)))


async def list_task_types(call: Call) -> Response:
    return json_answer(task_types())


async def pools_snapshot(events: EventLog) -> PoolsSnapshot | None:
    """What the pool manager last published; ``None`` while none has."""
    body = await events.snapshot(POOLS_SNAPSHOT)
    return None if body is None else msgspec.json.decode(body, type=PoolsSnapshot)


@functools.cache
def task_types() -> TypeList:
    return TypeList(
        types=[
            TypeInfo(
                type=name,
                description=inspect.cleandoc(payload.__doc__ or ""),
                payload_schema=msgspec.json.schema(payload),
                result_schema=msgspec.json.schema(RESULTS[name]),
            )
            for name, payload in PAYLOADS.items()
        ]
    )
