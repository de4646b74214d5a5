"""An HTTP server whose answers a test writes down: for what the real gateway cannot be made to do on demand."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Self

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ScriptedApi:
    """Runs in a thread of its own, since the commands under test bring their own event loop.

    ``on`` gives the answers of a route in order; the last one is repeated. ``requests`` keeps what came in.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.url = ""
        self._answers: dict[tuple[str, str], list[Handler]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._runner = self._wait(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._wait(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def on(self, method: str, path: str, *answers: Handler) -> None:
        self._answers[method, path] = list(answers)

    def headers_of(self, method: str, path: str) -> list[dict[str, str]]:
        return [headers for seen, where, headers, _ in self.requests if (seen, where) == (method, path)]

    def bodies_of(self, method: str, path: str) -> list[Any]:
        return [body for seen, where, _, body in self.requests if (seen, where) == (method, path)]

    def _wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return runner

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        self.requests.append((request.method, request.path, dict(request.headers), json.loads(text) if text else None))
        answers = self._answers.get((request.method, request.path))
        if not answers:
            return await problem(404, "not_found", f"nothing is scripted for {request.path}")(request)
        return await (answers.pop(0) if len(answers) > 1 else answers[0])(request)


def reply(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Handler:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.json_response(body, status=status, headers=headers)

    return handler


def problem(status: int, code: str, detail: str, **more: Any) -> Handler:
    body = {"type": "about:blank", "title": code, "status": status, "detail": detail, "code": code, **more}

    async def handler(_: web.Request) -> web.StreamResponse:
        return web.json_response(body, status=status, content_type="application/problem+json")

    return handler


def hang_up() -> Handler:
    """Close the connection without an answer."""

    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    return handler


def stream(*events: dict[str, Any], cut: bool = False, hold: bool = False, tail: bytes = b"") -> Handler:
    """Server-sent events, then the end; ``cut``: the connection breaks instead, after ``tail``; ``hold``: it stays."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for each in events:
            data = json.dumps(each, ensure_ascii=False)
            await response.write(f"id: {each['seq']}\nevent: {each['kind']}\ndata: {data}\n\n".encode())
        await response.write(b": still here\n\n" + tail)
        assert request.transport is not None
        if hold:
            await asyncio.Event().wait()
        if cut:
            request.transport.abort()
        return response

    return handler
