"""Orders of operators to the pool manager, which is another process: left for it, and its answer waited for."""

from __future__ import annotations

import asyncio
import secrets

import msgspec
from starlette.responses import Response

from sophia.gateway.body import decode, read_body
from sophia.gateway.deps import Call
from sophia.gateway.responses import json_answer
from sophia.gateway.schemas import PoolOrderRequest, PoolOrderView
from sophia.nouns.errors import InvalidInput, NotFound, Unavailable
from sophia.nouns.event import Event, EventKind
from sophia.nouns.pool import POOL_ANSWERS, POOL_ORDERS, PoolAnswer, PoolAnswers, PoolOrder, PoolOrders

WAIT_S = 40.0
"""A launch may wait for its turn at the provider."""
LOOK_EVERY_S = 0.25
LEAVE_ATTEMPTS = 50
"""Each fails only when another order was taken meanwhile."""
NEEDS_INSTANCE = frozenset({"drain", "terminate"})


async def order_pool(call: Call) -> Response:
    pool = call.request.path_params["pool"]
    asked = decode(await read_body(call.request, call.settings.server.max_body_bytes), PoolOrderRequest)
    if pool not in call.settings.pools:
        raise NotFound(f"there is no pool {pool!r}", field="pool", mend="one of " + ", ".join(call.settings.pools))
    if (asked.verb in NEEDS_INSTANCE) is (asked.instance is None):
        raise InvalidInput(
            f"{asked.verb} {'needs' if asked.instance is None else 'takes no'} instance",
            field="instance",
            mend="an id from GET /v1/pools for drain and terminate, nothing for the others",
        )
    order = PoolOrder(
        id=secrets.token_hex(8),
        pool=pool,
        verb=asked.verb,
        instance=asked.instance or "",
        dry_run=asked.dry_run,
        by=call.tenant,
        expires_at_ms=call.deps.clock.now_ms() + round(WAIT_S * 1000),
    )
    await _leave(call, order)
    answer = await _answer(call, order)
    return json_answer(PoolOrderView(ok=answer.ok, message=answer.message, dry_run=order.dry_run))


async def _leave(call: Call, order: PoolOrder) -> None:
    """Beside those of other operators, who may be leaving theirs at the same moment. Raises ``Unavailable``."""
    events, now_ms = call.deps.events, call.deps.clock.now_ms()
    for _ in range(LEAVE_ATTEMPTS):
        body = await events.snapshot(POOL_ORDERS)
        known = () if body is None else msgspec.json.decode(body, type=PoolOrders).orders
        if any(one.id == order.id for one in known):
            break
        orders = (*(one for one in known if one.expires_at_ms > now_ms), order)
        if await events.swap_snapshot(POOL_ORDERS, body, msgspec.json.encode(PoolOrders(orders=orders))):
            break
    else:
        raise Unavailable("too many orders are given at once; this one was not taken")
    data = {"pool": order.pool, "verb": order.verb, "instance": order.instance, "dry_run": order.dry_run}
    await events.publish([Event(kind=EventKind.POOL_ORDERED, at_ms=now_ms, subject=order.pool, data=data)])


async def _answer(call: Call, order: PoolOrder) -> PoolAnswer:
    while call.deps.clock.now_ms() < order.expires_at_ms and not call.context.closing.is_set():
        body = await call.deps.events.snapshot(POOL_ANSWERS)
        for answer in () if body is None else msgspec.json.decode(body, type=PoolAnswers).answers:
            if answer.id == order.id:
                return answer
        await asyncio.sleep(LOOK_EVERY_S)
    raise Unavailable("the pool manager did not take the order in time, and will not take it any more")
