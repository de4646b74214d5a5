"""The WebSocket server: a bound port, admission, connections, a bounded shutdown."""

from __future__ import annotations

import asyncio
import logging
import math
import socket

import msgspec
from aiohttp import web
from prometheus_client import Gauge

from sophia.nouns import errors as tree
from sophia.sockets import bind, port_of
from sophia.websocket.admission import Admission
from sophia.websocket.connection import Connection
from sophia.websocket.deps import WebSocketDeps
from sophia.websocket.protocol import PROTOCOL

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 65_536
LINGER_S = 10.0
_STATUS: tuple[tuple[type[tree.SophiaError], int], ...] = (
    (tree.Unauthorized, 401),
    (tree.Forbidden, 403),
    (tree.RateLimited, 429),
    (tree.InvalidInput, 400),
    (tree.Unavailable, 503),
)


class WebSocketServer:
    """Serves ``deps`` on ``host`` and ``port`` (0: a free one, see ``port`` once ``started``)."""

    def __init__(self, deps: WebSocketDeps, host: str, port: int) -> None:
        self._deps = deps
        self._host = host
        self._wanted_port = port
        self._admission = Admission(deps)
        self._connections: set[Connection] = set()
        self._stopping = asyncio.Event()
        self._socket: socket.socket | None = None
        self.started = asyncio.Event()
        self._active = Gauge("websocket_active_connections", "Clients connected now.", registry=deps.registry)

    @property
    def port(self) -> int:
        """The port that is bound."""
        if self._socket is None:
            raise RuntimeError("the WebSocket server has not started")
        return port_of(self._socket)

    async def run(self) -> None:
        """Serve until ``stop``. Raises ``ConfigError`` when the port is in use."""
        self._socket = bind(self._host, self._wanted_port, "server.websocket_port")
        app = web.Application()
        app.add_routes([web.get("/ws", self._ws), web.get("/health", self._health)])
        runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=self._deps.loaded.settings.server.shutdown_grace_s
        )
        await runner.setup()
        try:
            await web.SockSite(runner, self._socket).start()
            log.info("WebSocket server listens on %s port %d", self._host, self.port)
            self.started.set()
            await self._stopping.wait()
        finally:
            self._leave_all()
            await runner.cleanup()

    async def stop(self) -> None:
        """Take no more clients and tell the connected ones to connect again; then ``run`` returns."""
        self._stopping.set()

    def _leave_all(self) -> None:
        self._stopping.set()
        for connection in self._connections:
            connection.leave()

    async def _health(self, _: web.Request) -> web.Response:
        return _json({"status": "ok", "version": self._deps.version}, 200)

    async def _ws(self, request: web.Request) -> web.StreamResponse:
        try:
            tenant = self._admission.tenant_of(request)
            if self._stopping.is_set():
                raise tree.Unavailable("the server stops", retry_after_s=1)
            with self._admission.place(request):
                return await self._connected(request, tenant)
        except tree.SophiaError as error:
            return _refusal(error)

    async def _connected(self, request: web.Request, tenant: str) -> web.StreamResponse:
        settings = self._deps.loaded.settings.websocket
        client = web.WebSocketResponse(
            protocols=(PROTOCOL,), autoping=False, compress=False, max_msg_size=MAX_MESSAGE_BYTES, timeout=1.0
        )
        if not client.can_prepare(request):
            raise tree.InvalidInput("this is a WebSocket address", mend="connect with a WebSocket client")
        await client.prepare(request)
        connection = Connection(
            client,
            tenant,
            hub=self._deps.hub,
            events=self._deps.events,
            settings=settings,
            clock=self._deps.clock,
        )
        self._connections.add(connection)
        self._active.inc()
        try:
            await connection.serve()
        finally:
            self._active.dec()
            self._connections.discard(connection)
            if request.transport is not None:
                # One that takes nothing would keep what is buffered for it for ever.
                asyncio.get_running_loop().call_later(LINGER_S, request.transport.abort)
        return client


def _refusal(error: tree.SophiaError) -> web.Response:
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    body = {"title": error.code, "status": status, "detail": error.message, "code": error.code}
    if error.mend is not None:
        body["mend"] = error.mend
    response = _json(body, status, "application/problem+json")
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="sophia"'
    return response


def _json(body: dict[str, object], status: int, kind: str = "application/json") -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type=kind)
