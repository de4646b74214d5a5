"""Requests over one connection: many at once, answers of one or of many messages, no wait that outlives an outage.

The driver's own ``request`` knows single answers only and keeps callers waiting for their time-out when the connection
is cut; here an outage ends every open request at once.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from sophia.queue.jetstream.failures import Absent, Trouble

REPLY_TIMEOUT_S = 10.0


class Answer:
    """The messages of one request, complete when ``done``."""

    def __init__(self, many: bool) -> None:
        self.many = many
        self.messages: list[Msg] = []
        self.done: asyncio.Future[list[Msg]] = asyncio.get_running_loop().create_future()

    def take(self, message: Msg) -> None:
        if self.done.done():
            return
        status = message.headers.get("Status") if message.headers else None
        if status == "503":
            self.done.set_exception(Absent("nobody serves this"))
        elif not self.many:
            self.done.set_result([message])
        elif status is None:
            self.messages.append(message)
        elif status in ("204", "404"):
            if status == "204":
                self.messages.append(message)
            self.done.set_result(self.messages)
        else:
            self.done.set_exception(Trouble(f"NATS answered with status {status}"))


class Replies:
    """Open requests of one client by the last token of their reply subject."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._prefix = client.new_inbox()
        self._numbers = itertools.count(1)
        self._open: dict[str, Answer] = {}
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        self._subscription = await self._client.subscribe(f"{self._prefix}.*", cb=self._take)

    async def _take(self, message: Msg) -> None:
        answer = self._open.get(message.subject.rpartition(".")[2])
        if answer is not None:
            answer.take(message)

    async def send(
        self, subject: str, data: bytes, headers: dict[str, str] | None = None, *, many: bool = False
    ) -> Answer:
        """Send a request; requests reach the server in the order of these calls."""
        if not self._client.is_connected:
            raise Trouble("not connected")
        number = str(next(self._numbers))
        answer = self._open[number] = Answer(many)
        answer.done.add_done_callback(lambda _: self._open.pop(number, None))
        try:
            await self._client.publish(subject, data, reply=f"{self._prefix}.{number}", headers=headers)
        except BaseException:
            answer.done.cancel()
            raise
        return answer

    async def result(self, answer: Answer) -> list[Msg]:
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                return await answer.done
        except TimeoutError:
            raise Trouble("no answer in time") from None

    async def ask(self, subject: str, data: bytes, **kw: Any) -> list[Msg]:
        return await self.result(await self.send(subject, data, **kw))

    def fail_all(self) -> None:
        """The connection is gone: what is under way gets no answer any more."""
        for answer in list(self._open.values()):
            if not answer.done.done():
                answer.done.set_exception(Trouble("the connection was cut"))
                answer.done.exception()
