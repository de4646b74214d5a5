"""An emulated cloud behind a port."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from sophia.sockets import bind, port_of

SHUTDOWN_S = 2


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class CloudServer:
    """Serves ``app`` on ``host`` and ``port`` (0: a free one). Raises ``ConfigError`` when the port is taken."""

    def __init__(self, app: ASGIApp, host: str = "127.0.0.1", port: int = 0) -> None:
        # Bound at once, so that the address is known before the server runs.
        self._socket: socket.socket = bind(host, port, "--port")
        self._host = host
        self._server = _Server(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=SHUTDOWN_S,
            )
        )
        # Answers that break off on purpose are reported as errors of the application there.
        logging.getLogger("uvicorn.error").addFilter(_expected)

    @property
    def url(self) -> str:
        return f"http://{self._host}:{port_of(self._socket)}"

    async def run(self) -> None:
        """Serve until ``stop``."""
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            logging.getLogger("uvicorn.error").removeFilter(_expected)
            self._socket.close()

    def stop(self) -> None:
        self._server.should_exit = True


def _expected(record: logging.LogRecord) -> bool:
    """Whether a record is to be shown: answers that are cut off on purpose are no news."""
    return "ASGI callable returned without completing response" not in record.getMessage()
