"""The one stream of a platform over one connection: atomic writes, reads of many, waiting without asking."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from sophia.nouns.errors import ConfigError
from sophia.queue.jetstream import names
from sophia.queue.jetstream.bells import Bell
from sophia.queue.jetstream.discards import Discards
from sophia.queue.jetstream.failures import NO_MESSAGE, Absent, Mismatch, Trouble, persistently, raise_for, translated
from sophia.queue.jetstream.messages import Put, Stored
from sophia.queue.jetstream.replies import Answer, Replies

log = logging.getLogger(__name__)

PAGE = 500
"""Messages asked for at once."""
CONNECT_TIMEOUT_S = 5
RECONNECT_EVERY_S = 0.2
CHECK_EVERY_S = 30.0
DUPLICATE_WINDOW_NS = 120 * 1_000_000_000
NEEDED = ("allow_atomic", "allow_direct", "allow_msg_ttl")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Bus:
    """Shared by everything of one process; closed by whoever opened it."""

    def __init__(self, client: Client, replicas: int) -> None:
        self.client = client
        self.created_ms = 0
        """When the stream was made: another value means another stream, whose sequences count anew."""
        self.trusted_accounts: set[str] = set()
        """Tenants whose account was compared with its tasks since the connection was made: see ``accounts``."""
        self._replicas = replicas
        self._checked_at_s = -CHECK_EVERY_S
        self._replies = Replies(client)
        self._batches = itertools.count(1)
        self._unique = os.urandom(8).hex()
        self._bells: dict[Bell, list[Subscription]] = {}
        self.discards = Discards(self.delete)

    async def start(self) -> None:
        await self._replies.start()
        await persistently(self.ensure)

    def on_cut(self) -> None:
        self.trusted_accounts.clear()
        self._replies.fail_all()

    def on_back(self) -> None:
        """Announcements may have been missed meanwhile: let everybody look. It may be a server without its data."""
        self._checked_at_s = -CHECK_EVERY_S
        for bell in self._bells:
            bell.ring()

    async def ensure(self) -> None:
        """Make the stream, or see that it can do what is needed of it."""
        config = {
            "name": names.STREAM,
            "subjects": list(names.STORED),
            "retention": "limits",
            "storage": "file",
            "discard": "old",
            "max_msgs_per_subject": 1,
            "num_replicas": self._replicas,
            "duplicate_window": DUPLICATE_WINDOW_NS,
            "allow_direct": True,
            "allow_atomic": True,
            "allow_msg_ttl": True,
            "republish": {"src": f"{names.ROOT}.n.>", "dest": f"{names.ROOT}.w.>", "headers_only": True},
        }
        try:
            answer = await self.api(f"STREAM.INFO.{names.STREAM}")
        except Absent:
            answer = await self.api(f"STREAM.CREATE.{names.STREAM}", config)
        missing = [name for name in NEEDED if not answer["config"].get(name)]
        if missing:
            raise ConfigError(
                f"the stream {names.STREAM} of the NATS server lacks {', '.join(missing)}",
                field="nats.url",
                mend="a NATS server 2.12 or later; delete a stream of this name that something else made",
            )
        created_ms = _ms(answer["created"])
        if self.created_ms not in (0, created_ms):
            self.discards.forget()
        self.created_ms = created_ms
        self._checked_at_s = asyncio.get_running_loop().time()

    async def check(self) -> None:
        """Notice, at the latest every half minute and after every outage, that the stream is not the one it was."""
        if asyncio.get_running_loop().time() - self._checked_at_s > CHECK_EVERY_S:
            await self.ensure()

    async def api(self, what: str, body: Any = None) -> Any:
        """A request to the JetStream API. Raises the exceptions of ``failures``."""
        (reply,) = await self._replies.ask(f"$JS.API.{what}", b"" if body is None else _encode(body))
        answer = _decode(reply.data)
        if "error" in answer:
            raise_for(answer["error"])
        return answer

    async def write(self, puts: Sequence[Put]) -> int:
        """Store all or none; gives the sequence of the last. Raises ``Mismatch`` when an expectation failed."""
        await self.check()
        if len(puts) == 1:
            (seq,) = await self.write_each(puts)
            if seq is None:
                raise Mismatch(puts[0].subject)
            return seq
        if not self.client.is_connected:
            raise Trouble("not connected")
        batch = f"{self._unique}-{next(self._batches)}"
        for number, put in enumerate(puts[:-1], 1):
            headers = {**put.headers(), "Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
            await self.client.publish(put.subject, put.data, headers=headers)
        last = {
            **puts[-1].headers(),
            "Nats-Batch-Id": batch,
            "Nats-Batch-Sequence": str(len(puts)),
            "Nats-Batch-Commit": "1",
        }
        return _acknowledged((await self._ask(puts[-1].subject, puts[-1].data, headers=last))[0])

    async def write_each(self, puts: Sequence[Put]) -> list[int | None]:
        """Store each by itself, in order; ``None`` where an expectation failed."""
        answers = [await self._replies.send(put.subject, put.data, put.headers() or None) for put in puts]
        seqs: list[int | None] = []
        for reply in await self._all(answers):
            try:
                seqs.append(_acknowledged(reply[0]))
            except Mismatch:
                seqs.append(None)
        return seqs

    async def delete(self, seqs: Sequence[int]) -> None:
        """Remove these very messages; one that was replaced or removed meanwhile stays as it is."""
        answers = [
            await self._replies.send(
                f"$JS.API.STREAM.MSG.DELETE.{names.STREAM}", _encode({"seq": seq, "no_erase": True})
            )
            for seq in seqs
        ]
        for (reply,) in await self._all(answers):
            error = _decode(reply.data).get("error")
            if error and int(error.get("err_code", 0)) not in NO_MESSAGE:
                raise_for(error)

    async def purge(self, pattern: str, *, below: int | None = None) -> None:
        """Remove every message of a subject or pattern, or those with a sequence below ``below``."""
        await self.api(f"STREAM.PURGE.{names.STREAM}", {"filter": pattern, **({} if below is None else {"seq": below})})

    async def last(self, subject: str) -> Stored | None:
        """The newest message of a subject or pattern."""
        await self.check()
        (reply,) = await self._ask(_DIRECT, _encode({"last_by_subj": subject}))
        return _stored(reply)

    async def newest(self, subjects: Sequence[str]) -> dict[str, Stored]:
        """The newest message of each of these subjects that has one; subjects may be patterns."""
        await self.check()
        pages = [list(subjects[at : at + PAGE]) for at in range(0, len(subjects), PAGE)]
        found: dict[str, Stored] = {}
        for page in pages:
            start, up_to = 1, 0
            while True:
                body: dict[str, Any] = {"multi_last": page, "seq": start, "batch": PAGE}
                if up_to:
                    body["up_to_seq"] = up_to
                replies = await self._ask(_DIRECT, _encode(body), many=True)
                end = replies.pop() if replies else None
                for reply in replies:
                    message = _stored(reply)
                    if message is not None:
                        found[message.subject] = message
                        start = message.seq + 1
                if end is None or not replies or _header(end, "Nats-Num-Pending") in ("", "0"):
                    break
                up_to = int(_header(end, "Nats-UpTo-Sequence"))
        return found

    async def after(self, seq: int, pattern: str, limit: int) -> list[Stored]:
        """Up to ``limit`` messages of a pattern with a sequence above ``seq``, in the stream's order."""
        await self.check()
        found: list[Stored] = []
        while len(found) < limit:
            wanted = min(PAGE, limit - len(found))
            body = {"seq": seq + 1, "next_by_subj": pattern, "batch": wanted}
            replies = await self._ask(_DIRECT, _encode(body), many=True)
            page = [message for message in map(_stored, replies) if message is not None]
            found += page
            if not page or page[-1].pending == 0:
                break
            seq = page[-1].seq
        return found

    async def first(self, pattern: str, seq: int = 0) -> Stored | None:
        """The oldest message of a pattern above ``seq``; its ``pending`` counts the others."""
        found = await self.after(seq, pattern, 1)
        return found[0] if found else None

    async def count(self, pattern: str) -> int:
        head = await self.first(pattern)
        return 0 if head is None else head.pending + 1

    async def bell(self, patterns: Sequence[str]) -> Bell:
        """A bell that rings when something is stored under a pattern, until it is handed to ``silence``."""
        bell = Bell()

        async def ring(message: Msg) -> None:
            bell.ring(_stored(message))

        async with translated():
            self._bells[bell] = [await self.client.subscribe(names.wake_of(pattern), cb=ring) for pattern in patterns]
        return bell

    async def silence(self, bell: Bell) -> None:
        for subscription in self._bells.pop(bell, ()):
            if not self.client.is_closed:
                await subscription.unsubscribe()

    @contextlib.asynccontextmanager
    async def listening(self, patterns: Sequence[str]) -> AsyncIterator[Bell]:
        """What is looked at in here after its ``rings`` were noted is not missed."""
        bell = await self.bell(patterns)
        try:
            yield bell
        finally:
            await self.silence(bell)

    async def _ask(self, subject: str, data: bytes, **kw: Any) -> list[Msg]:
        return await self._result(await self._replies.send(subject, data, **kw))

    async def _all(self, answers: Sequence[Answer]) -> list[list[Msg]]:
        return [await self._result(answer) for answer in answers]

    async def _result(self, answer: Answer) -> list[Msg]:
        try:
            return await self._replies.result(answer)
        except Absent:
            await self.ensure()
            raise Trouble("the stream was not there") from None


_DIRECT = f"$JS.API.DIRECT.GET.{names.STREAM}"


async def open_bus(url: str, *, replicas: int = 1) -> Bus:
    """Connect to one of the servers in ``url`` (commas between them) and make the stream. Raises ``ConfigError`` or
    ``Unavailable``."""
    client = Client()
    bus = Bus(client, replicas)

    async def cut() -> None:
        bus.on_cut()

    async def back() -> None:
        bus.on_back()

    async def failed(error: Exception) -> None:
        log.debug("NATS: %s", error)

    async def attempt() -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await connect()
        except TimeoutError:
            raise Trouble("cannot connect") from None

    async def connect() -> None:
        await client.connect(
            [server.strip() for server in url.split(",")],
            name="sophia",
            error_cb=failed,
            disconnected_cb=cut,
            reconnected_cb=back,
            connect_timeout=CONNECT_TIMEOUT_S,
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            reconnect_time_wait=RECONNECT_EVERY_S,  # type: ignore[arg-type]  # it sleeps for it: fractions work
        )

    try:
        await persistently(attempt)
        await bus.start()
    except BaseException:
        await client.close()
        raise
    return bus


async def close_bus(bus: Bus) -> None:
    if bus.client.is_connected:
        await bus.discards.done()
    bus.discards.forget()
    await bus.client.close()
    bus.on_cut()


def _acknowledged(reply: Msg) -> int:
    answer = _decode(reply.data)
    if "error" in answer:
        raise_for(answer["error"])
    return int(answer["seq"])


def _header(message: Msg, name: str) -> str:
    return (message.headers or {}).get(name, "")


def _stored(message: Msg) -> Stored | None:
    headers = message.headers or {}
    if "Nats-Sequence" not in headers:
        return None
    return Stored(
        subject=headers["Nats-Subject"],
        seq=int(headers["Nats-Sequence"]),
        at_ms=_ms(headers["Nats-Time-Stamp"]),
        data=message.data,
        pending=int(headers.get("Nats-Num-Pending") or 0),
    )


def _ms(stamp: str) -> int:
    """RFC 3339 with nanoseconds as milliseconds since the epoch."""
    whole, _, rest = stamp.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(whole + "+00:00").timestamp()) * 1000 + int((rest + "000")[:3])
