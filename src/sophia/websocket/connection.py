"""One client: what it subscribed to, where it stands in the log, and whether it still listens."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Iterable
from enum import IntEnum

from aiohttp import WSMsgType, web

from sophia.cancel import cancel_all
from sophia.events import cursors
from sophia.events.base import EventLog
from sophia.events.hub import Delivery, Hub, Loss, Subscription
from sophia.events.view import event_view
from sophia.nouns.clock import Clock
from sophia.nouns.errors import InvalidInput, SophiaError
from sophia.nouns.event import Event
from sophia.settings.model import WebSocketSettings
from sophia.websocket import protocol
from sophia.websocket.protocol import EventMessage, Gap, Interest, Message, Subscribe, Subscribed, Trouble

log = logging.getLogger(__name__)

SEND_TIMEOUT_S = 10.0
"""A client that takes nothing for so long is too slow."""
CLOSE_TIMEOUT_S = 2.0
REPLAY_LIMIT = 500
MAX_PENDING_REQUESTS = 4


class Close(IntEnum):
    """Close codes (RFC 6455, section 7.4.1, and IANA's registry)."""

    GOING_AWAY = 1001
    POLICY = 1008
    TRY_AGAIN_LATER = 1013


class _Closing(Exception):
    def __init__(self, code: Close, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Connection:
    """Events reach the client in order, each once: replayed from the log up to where the hub stands, then live.

    ``_cursor`` is a position after which nothing that the client wants was sent, and before which all was.
    """

    def __init__(
        self,
        socket: web.WebSocketResponse,
        tenant: str,
        *,
        hub: Hub,
        events: EventLog,
        settings: WebSocketSettings,
        clock: Clock,
    ) -> None:
        self._socket = socket
        self._hub = hub
        self._events = events
        self._clock = clock
        self._interest = Interest(tenant)
        self._cursor: str | None = None
        self._requests: asyncio.Queue[Subscribe | Trouble] = asyncio.Queue(MAX_PENDING_REQUESTS)
        self._heart = _Heart(settings, clock)
        self._subscription: Subscription | None = None
        self._leaving = False

    async def serve(self) -> None:
        """Until either side closes."""
        reader = asyncio.create_task(self._read())
        writer = asyncio.create_task(self._write())
        try:
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            results = await cancel_all(reader, writer)
        await self._end(results)

    def leave(self) -> None:
        """Close because the server stops."""
        self._leaving = True
        if self._subscription is not None:
            self._subscription.wake()

    async def _end(self, results: Iterable[BaseException | None]) -> None:
        for result in results:
            if isinstance(result, _Closing):
                await self._close(result.code, result.reason)
                return
            if isinstance(result, SophiaError):
                await self._close(Close.TRY_AGAIN_LATER, result.message)
                return
            if isinstance(result, Exception) and not isinstance(result, ConnectionError):
                raise result

    async def _close(self, code: Close, reason: str) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._socket.close(code=code, message=reason.encode()[:120])
        except (TimeoutError, ConnectionError):
            log.debug("a client did not take the close: %s", reason)

    async def _read(self) -> None:
        while True:
            message = await self._socket.receive()
            if message.type is WSMsgType.TEXT:
                await self._requests.put(_request_in(message.data))
                if self._subscription is not None:
                    self._subscription.wake()
            elif message.type is WSMsgType.PING:
                await self._socket.pong(message.data)
            elif message.type is WSMsgType.PONG:
                self._heart.answered()
            elif message.type is WSMsgType.BINARY:
                raise _Closing(Close.POLICY, "binary messages are not part of the protocol")
            else:
                return

    async def _write(self) -> None:
        async with self._hub.subscribe(lambda event: self._interest.wants(event)) as subscription:
            self._subscription = subscription
            while not self._leaving:
                while not self._requests.empty():
                    await self._take(self._requests.get_nowait(), subscription)
                await self._beat()
                delivery = await subscription.next(self._heart.due_in_s())
                if subscription.loss is Loss.OVERFLOW:
                    raise _Closing(Close.TRY_AGAIN_LATER, "too slow: connect again with your last cursor")
                if subscription.loss is Loss.GAP:
                    await self._replay(subscription)
                elif delivery is not None:
                    await self._deliver(delivery)
                elif self._cursor is not None and subscription.drained:
                    # Nothing that the client wants happened up to here; an old position would be trimmed some day.
                    self._cursor = cursors.merged(self._cursor, self._hub.cursor)
        raise _Closing(Close.GOING_AWAY, "the server stops: connect again with your last cursor")

    async def _take(self, request: Subscribe | Trouble, subscription: Subscription) -> None:
        if isinstance(request, Trouble):
            await self._send(request)
            return
        try:
            interest = protocol.interest_in(request.topics, self._interest.tenant)
        except InvalidInput as error:
            await self._send(_trouble("unknown_topic", error))
            return
        start = request.after
        if start is None:
            # What is buffered was not sent: the position after the last event sent is the one to go on from.
            start = self._hub.cursor if self._cursor is None or subscription.drained else self._cursor
        try:
            await self._events.read(start, 1, 0)
        except InvalidInput as error:
            await self._send(_trouble("bad_cursor", error))
            return
        self._interest, self._cursor = interest, start
        await self._send(Subscribed(topics=request.topics, cursor=start))
        await self._replay(subscription)

    async def _replay(self, subscription: Subscription) -> None:
        """Send what the log has from the client's position up to the hub's; later events come through the hub."""
        subscription.resume(self._hub.cursor)
        position = self._cursor or ""
        while True:
            if subscription.loss is not None:
                subscription.resume(self._hub.cursor)
            if cursors.reaches(position, subscription.start):
                break
            page = await self._events.read(position, REPLAY_LIMIT, 0)
            if page.gap:
                await self._send(Gap(cursor=page.cursor))
            for event in page.events:
                self._cursor = event.cursor
                if self._interest.wants(event):
                    await self._send_event(event, event.cursor)
            if page.cursor == position:
                break
            position = page.cursor
            await self._beat()
        self._cursor = cursors.merged(position, subscription.start)

    async def _deliver(self, delivery: Delivery) -> None:
        event, position = delivery.event, self._cursor or ""
        if cursors.has_seen(position, delivery.before, event.cursor):
            return
        self._cursor = cursors.merged(position, event.cursor)
        await self._send_event(event, self._cursor)

    async def _send_event(self, event: Event, cursor: str) -> None:
        await self._send(EventMessage(event=event_view(event, cursor)))

    async def _send(self, message: Message) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._socket.send_frame(protocol.encode(message), WSMsgType.TEXT)
        except TimeoutError as error:
            raise _Closing(Close.TRY_AGAIN_LATER, "too slow: connect again with your last cursor") from error

    async def _beat(self) -> None:
        if self._heart.missed():
            raise _Closing(Close.GOING_AWAY, "no pong came back")
        if self._heart.due():
            self._heart.sent()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await self._socket.ping()


class _Heart:
    """When to ping, and whether the last ping was answered in time.

    The first ping comes after a random part of the interval: clients that connected together, after a restart for
    one, would be pinged together for ever.
    """

    def __init__(self, settings: WebSocketSettings, clock: Clock) -> None:
        self._interval_s = settings.ping_interval_s
        self._timeout_s = settings.pong_timeout_s
        self._clock = clock
        self._next_s = clock.monotonic_s() + random.uniform(0.0, self._interval_s)  # noqa: S311 - jitter
        self._unanswered_since_s: float | None = None

    def due(self) -> bool:
        return self._unanswered_since_s is None and self._clock.monotonic_s() >= self._next_s

    def due_in_s(self) -> float:
        """How long nothing has to be done."""
        since = self._unanswered_since_s
        at = self._next_s if since is None else since + self._timeout_s
        return max(0.0, at - self._clock.monotonic_s())

    def sent(self) -> None:
        now_s = self._clock.monotonic_s()
        self._unanswered_since_s, self._next_s = now_s, now_s + self._interval_s

    def answered(self) -> None:
        self._unanswered_since_s = None

    def missed(self) -> bool:
        since = self._unanswered_since_s
        return since is not None and self._clock.monotonic_s() >= since + self._timeout_s


def _request_in(text: str) -> Subscribe | Trouble:
    try:
        return protocol.decode(text)
    except InvalidInput as error:
        return _trouble("malformed", error)


def _trouble(code: str, error: SophiaError) -> Trouble:
    message = error.message if error.mend is None else f"{error.message}; {error.mend}"
    return Trouble(code=code, message=message)  # type: ignore[arg-type]
