"""The gateway as a service: a bound port, a server, a bounded shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import socket
from collections.abc import Iterator
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from sophia.cancel import cancel_all
from sophia.gateway.app import create_app
from sophia.gateway.auth import KeyFollower
from sophia.gateway.deps import Context, GatewayDeps
from sophia.sockets import bind, port_of

log = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Gateway:
    """Serves ``deps`` on ``host`` and ``port`` (0: a free one, see ``port`` once ``started``)."""

    def __init__(self, deps: GatewayDeps, host: str, port: int) -> None:
        self._host = host
        self._wanted_port = port
        self._app = create_app(deps)
        self._context: Context = self._app.context
        self._follower = KeyFollower(self._context.keys, deps.keys, deps.hub)
        config = uvicorn.Config(
            self._app,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=math.ceil(deps.loaded.settings.server.shutdown_grace_s),
        )
        # Not around the busy paths, which do not ask.
        proxies: Any = config.forwarded_allow_ips
        self._app.others = cast(ASGIApp, ProxyHeadersMiddleware(cast(Any, self._app.others), trusted_hosts=proxies))
        self._server = _Server(config)
        self._socket: socket.socket | None = None
        self.started = asyncio.Event()

    @property
    def port(self) -> int:
        """The port that is bound."""
        if self._socket is None:
            raise RuntimeError("the gateway has not started")
        return port_of(self._socket)

    async def run(self) -> None:
        """Serve until ``stop``. Raises ``ConfigError`` when the port is in use."""
        self._socket = bind(self._host, self._wanted_port, "server.port")
        log.info("gateway listens on %s port %d", self._host, self.port)
        self.started.set()
        following = asyncio.create_task(self._follower.run(), name="key-follower")
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            await cancel_all(following)
            self._context.close()
            for server in getattr(self._server, "servers", ()):
                server.close()
            self._socket.close()

    async def stop(self) -> None:
        """Take no more requests, let running ones end within ``server.shutdown_grace_s``, then return from ``run``."""
        self._context.close()
        self._server.should_exit = True
