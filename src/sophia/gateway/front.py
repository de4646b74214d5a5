"""The way in: the busiest paths by one look-up, everything else through the routes."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from sophia.gateway.deps import Context

BUSY = frozenset({"submitTask", "submitBatch", "createChatCompletion", "createEmbedding"})
"""Operations without parameters in their paths, and whose handlers do not ask where a request came from."""


class Front:
    """An ASGI app. Trying route after route took a fifth of a cached answer's time in a profile, and endpoints of ``BUSY``
    operations need none of the middleware either: they answer their own errors."""

    def __init__(self, app: Starlette, busy: Mapping[tuple[str, str], ASGIApp]) -> None:
        self.others: ASGIApp = app
        self._busy = busy
        self.context: Context = app.state.context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Of what a server sends only requests have both.
        endpoint = self._busy.get((scope.get("method", ""), scope.get("path", "")))
        if endpoint is None:
            await self.others(scope, receive, send)
        else:
            await endpoint(scope, receive, send)
