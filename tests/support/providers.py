"""A scripted OpenAI-compatible provider: real HTTP, answers chosen by the test. Stands for services that are not ours."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from sophia.settings.inference import ProviderSettings
from sophia.settings.loaded import ResolvedProvider

Answer = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


class ScriptedProvider:
    """``answer`` may be set by the test; ``bodies`` are the requests seen; ``gone`` is set when a client left early."""

    def __init__(self) -> None:
        self.answer: Answer = _nothing
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.gone = asyncio.Event()
        self.running = 0
        self.most_running = 0
        self.url = ""

    def resolved(
        self, name: str = "scripted", headers: dict[str, str] | None = None, **settings: Any
    ) -> ResolvedProvider:
        return ResolvedProvider(
            name=name,
            settings=ProviderSettings(kind="openai", **settings),
            base_url=self.url,
            headers=headers or {},
        )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = msgspec.json.decode(await request.read())
        self.bodies.append(body)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            return await self.answer(request, body)
        except (asyncio.CancelledError, ConnectionError):
            self.gone.set()
            raise
        finally:
            self.running -= 1


@contextlib.asynccontextmanager
async def scripted_provider() -> AsyncIterator[ScriptedProvider]:
    provider = ScriptedProvider()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/{path:.*}", provider.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    provider.url = f"http://{host}:{port}/v1"
    try:
        yield provider
    finally:
        await runner.cleanup()


def streamed(*events: Any, done: bool = True, hang: bool = False) -> Answer:
    """An answer of these JSON events, then ``[DONE]``; with ``hang`` it stays open after them instead."""

    async def answer(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in events:
            await response.write(b"data: " + msgspec.json.encode(event) + b"\n\n")
        if hang:
            await asyncio.Event().wait()
        if done:
            await response.write(b"data: [DONE]\n\n")
        return response

    return answer


def plain(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    async def answer(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return web.Response(
            body=msgspec.json.encode(document), status=status, headers=headers, content_type="application/json"
        )

    return answer


async def silent(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Takes the request and never answers."""
    await asyncio.Event().wait()
    raise AssertionError


async def _nothing(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    raise web.HTTPNotImplemented
