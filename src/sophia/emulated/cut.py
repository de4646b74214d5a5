"""An answer that breaks off: what a client sees when the connection is lost."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

PROMISED_BYTES = 4096


class CutOff(Response):
    """Promises a body and closes the connection in the middle of it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", str(PROMISED_BYTES).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"data":', "more_body": True})
        # Without an end: the server closes the connection, because it can no longer keep the promise.
