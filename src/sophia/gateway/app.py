"""The gateway's ASGI app, routed from the operations table."""

from __future__ import annotations

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from sophia.gateway import (
    budgets,
    dead_letters,
    errors,
    events_sse,
    hosts,
    keys,
    openai_batches,
    openai_chat,
    openai_embeddings,
    openai_files,
    openai_models,
    platform,
    pool_orders,
    schedules,
    service_info,
    submit,
    tasks,
    usage,
)
from sophia.gateway.deps import Context, GatewayDeps, Handler
from sophia.gateway.docs_page import render
from sophia.gateway.endpoint import Endpoint
from sophia.gateway.front import BUSY, Front
from sophia.gateway.openapi import document
from sophia.gateway.operations import OPERATIONS
from sophia.gateway.static import Page, security_headers
from sophia.nouns.errors import InvalidInput, NotFound, SophiaError
from sophia.nouns.wording import nearest

HANDLERS: dict[str, Handler] = {
    "submitTask": submit.submit_task,
    "submitBatch": submit.submit_batch,
    "listTasks": tasks.list_tasks,
    "getTask": tasks.get_task,
    "cancelTask": tasks.cancel_task,
    "taskEvents": events_sse.task_events,
    "explainTask": tasks.explain_task,
    "listDeadLetters": dead_letters.list_dead_letters,
    "redriveDeadLetters": dead_letters.redrive,
    "listTaskTypes": platform.list_task_types,
    "getQueue": platform.get_queue,
    "listPoison": platform.list_poison,
    "getPools": platform.get_pools,
    "orderPool": pool_orders.order_pool,
    "getBudgets": budgets.get_budgets,
    "listSchedules": schedules.list_schedules,
    "createChatCompletion": openai_chat.chat_completions,
    "createEmbedding": openai_embeddings.embeddings,
    "listModels": openai_models.list_models,
    "getModel": openai_models.get_model,
    "createKey": keys.create_key,
    "listKeys": keys.list_keys,
    "revokeKey": keys.revoke_key,
    "getUsage": usage.get_usage,
    "uploadFile": openai_files.upload,
    "listFiles": openai_files.list_files,
    "getFile": openai_files.get_file,
    "deleteFile": openai_files.delete_file,
    "getFileContent": openai_files.file_content,
    "createBatch": openai_batches.create_batch,
    "listBatches": openai_batches.list_batches,
    "getBatch": openai_batches.get_batch,
    "cancelBatch": openai_batches.cancel_batch,
    "joinHost": hosts.join_host,
    "health": service_info.health,
    "ready": service_info.ready,
    "clientConfig": service_info.client_config,
}
_OPENAI_PATHS = (
    "/v1/chat/",
    "/v1/files",
    "/v1/batches",
    "/v1/embeddings",
    "/v1/models",
    "/v1/completions",
    "/v1/responses",
)


def create_app(deps: GatewayDeps) -> Front:
    """The app. Nothing is started for it; ``deps.hub`` must run beside it."""
    context = Context(deps)
    endpoints = {operation.id: Endpoint(operation, HANDLERS[operation.id], context) for operation in OPERATIONS}
    routes: list[BaseRoute] = [
        Route(
            # Model names may have slashes in them.
            operation.path.replace("{model}", "{model:path}"),
            endpoints[operation.id],
            methods=[operation.method],
        )
        for operation in OPERATIONS
    ]
    routes += _documentation(deps.version)
    routes.append(Route("/{path:path}", Page(deps), methods=["GET"]))
    app = Starlette(routes=routes, exception_handlers={HTTPException: _not_routed})
    app.state.context = context
    busy: dict[tuple[str, str], ASGIApp] = {
        (operation.method, operation.path): endpoints[operation.id] for operation in OPERATIONS if operation.id in BUSY
    }
    return Front(app, busy)


def _documentation(version: str) -> list[BaseRoute]:
    described = document(version)
    as_json = msgspec.json.encode(described)
    as_page = render(described)

    async def openapi_json(_: Request) -> Response:
        return Response(as_json, media_type="application/json", headers={"Cache-Control": "no-cache"})

    async def docs(_: Request) -> Response:
        return HTMLResponse(as_page, headers={"Cache-Control": "no-cache", **security_headers("")})

    return [Route("/openapi.json", openapi_json), Route("/docs", docs)]


async def _not_routed(request: Request, error: Exception) -> Response:
    """What no operation takes: an unknown path, or a known one with another method."""
    path = request.url.path
    status = error.status_code if isinstance(error, HTTPException) else 500
    fault: SophiaError
    # Of several routes of one path the router names the methods of the first only, and the page takes every GET.
    allowed = [operation.method for operation in OPERATIONS if _fits(operation.path, path)]
    if status == 404 and allowed and request.method not in allowed:
        status = 405
    if status == 405:
        fault = errors.MethodNotAllowed(
            f"{request.method} is not possible on {path[:200]}", mend=f"allowed: {', '.join(allowed) or 'GET'}"
        )
    elif status == 404:
        known = {operation.path for operation in OPERATIONS}
        fault = NotFound(f"there is nothing at {path[:200]}", mend=f"{nearest(path, sorted(known))}; see /docs")
    else:
        fault = InvalidInput(str(error))
    response = errors.answer(fault, openai=path.startswith(_OPENAI_PATHS))
    if status == 405:
        response.headers["Allow"] = ", ".join(allowed) or "GET"
    return response


def _fits(template: str, path: str) -> bool:
    steps, parts = template.split("/"), path.split("/")
    return len(steps) == len(parts) and all(
        step == part or step.startswith("{") for step, part in zip(steps, parts, strict=True)
    )
