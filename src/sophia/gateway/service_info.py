"""Health, readiness, and what the page needs to know."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from sophia.gateway.deps import Call, GatewayDeps
from sophia.gateway.responses import json_answer
from sophia.gateway.schemas import Check, ClientConfig, Health, Readiness
from sophia.nouns.errors import SophiaError, Unavailable

CHECK_TIMEOUT_S = 2.0
_NO_TASK = "0" * 32


async def health(call: Call) -> Response:
    return json_answer(Health(status="ok", version=call.deps.version))


async def ready(call: Call) -> Response:
    deps = call.deps
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_checked("queue", lambda: _queue(deps))),
            group.create_task(_checked("ledger", lambda: _ledger(deps))),
            group.create_task(_checked("models", lambda: _models(deps))),
        ]
    checks = [task.result() for task in tasks]
    ready_ = all(check.ok for check in checks) and not call.context.closing.is_set()
    return json_answer(Readiness(ready=ready_, checks=checks), 200 if ready_ else 503, {"Cache-Control": "no-store"})


async def client_config(call: Call) -> Response:
    config = ClientConfig(websocket_url=websocket_url(call.request, call.deps), version=call.deps.version)
    return json_answer(config, headers={"Cache-Control": "no-store"})


def websocket_url(request: Request, deps: GatewayDeps) -> str:
    """The configured address, or the WebSocket port of the host that the browser asked."""
    if deps.websocket_url is not None:
        return deps.websocket_url
    server = deps.loaded.settings.server
    port = server.websocket_port if server.websocket_port is not None else server.port + 1
    scheme = "wss" if request.url.scheme == "https" else "ws"
    host = request.url.hostname or server.host
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/ws"


async def _checked(name: str, check: Callable[[], Awaitable[str]]) -> Check:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            detail = await check()
    except TimeoutError:
        return Check(name=name, ok=False, detail=f"no answer within {CHECK_TIMEOUT_S:g} s")
    except SophiaError as error:
        return Check(name=name, ok=False, detail=error.message)
    return Check(name=name, ok=True, detail=detail)


async def _queue(deps: GatewayDeps) -> str:
    await deps.events.head()
    # The hub has followed the log at least once, else nobody could be told of changes.
    return f"events up to {deps.hub.cursor}"


async def _ledger(deps: GatewayDeps) -> str:
    await deps.ledger.task(_NO_TASK)
    return "answers"


async def _models(deps: GatewayDeps) -> str:
    cards = deps.models.cards()
    if not cards:
        raise Unavailable("no provider of a model is in use: see `providers` in sophia.yaml")
    return ", ".join(card.id for card in cards)
