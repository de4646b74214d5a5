"""One operation as an ASGI app: authenticated, timed, its errors answered in the shape of its path."""

from __future__ import annotations

import logging
import time

from prometheus_client import Histogram
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope, Send

from sophia.access.keys import Holder
from sophia.gateway import errors
from sophia.gateway.auth import check_rights, holder_of
from sophia.gateway.deps import Call, Context, Handler
from sophia.gateway.operation import Operation
from sophia.nouns.errors import SophiaError

log = logging.getLogger(__name__)

NOBODY = Holder(tenant="", scopes=())


class Endpoint:
    def __init__(self, operation: Operation, handler: Handler, context: Context) -> None:
        self._operation = operation
        self._handler = handler
        self._context = context
        self._histograms: dict[int, Histogram] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started_s = time.perf_counter()
        status = 0

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        request = Request(scope, receive, observed)
        try:
            try:
                response = await self._handler(Call(self._context, request, self._holder(request)))
                await response(scope, receive, observed)
            except ClientDisconnect:
                status = status or errors.CLIENT_GONE
            except SophiaError as error:
                if status:
                    raise
                self._note(error)
                await errors.answer(error, openai=self._operation.openai)(scope, receive, observed)
            except Exception:
                if status:
                    raise
                log.exception("%s %s failed", self._operation.method, self._operation.path)
                fault = errors.InternalError("this is a fault of the server; its log has the details")
                await errors.answer(fault, openai=self._operation.openai)(scope, receive, observed)
        finally:
            self._times(status or 500).observe(time.perf_counter() - started_s)

    def _times(self, status: int) -> Histogram:
        found = self._histograms.get(status)
        if found is None:
            labels = (self._operation.method, self._operation.path, str(status))
            found = self._histograms[status] = self._context.metrics.requests.labels(*labels)
        return found

    def _holder(self, request: Request) -> Holder:
        """Whose key it is; nobody's where none is needed. Raises ``Unauthorized`` or ``Forbidden``."""
        if not self._operation.auth:
            return NOBODY
        holder = holder_of(request, self._context.keys, self._context.deps.clock.now_ms())
        check_rights(holder, self._operation.tag, operator=self._operation.operator)
        return holder

    def _note(self, error: SophiaError) -> None:
        if errors.status_of(error) >= 500:
            log.warning("%s %s: %s: %s", self._operation.method, self._operation.path, error.code, error.message)
