"""The event log on Redis: one capped stream per partition, what tasks and their lists hold, and snapshots."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
import redis.asyncio as aioredis

from sophia.events.base import Page
from sophia.nouns.errors import InvalidInput
from sophia.nouns.event import Event, EventKind
from sophia.queue.redis.shared import QueueOptions, Scripts
from sophia.redis.connection import blocking_command, cancellable, command, persistently, translated
from sophia.redis.records import decode_record, first_event

_encode = msgspec.json.Encoder()
_POSITION = re.compile(r"^\d{1,20}-\d{1,20}$")


class RedisEventLog:
    """Implements ``EventLog``. A cursor is one stream position per partition, joined by commas."""

    def __init__(self, client: aioredis.Redis, blocking: aioredis.Redis, options: QueueOptions) -> None:
        self._client = client
        self._blocking = blocking
        self._options = options
        self._scripts = Scripts(client, options)
        self._keys = [f"{prefix}:events" for prefix in self._scripts.prefixes]

    async def publish(self, events: Sequence[Event]) -> None:
        async with translated(), self._client.pipeline(transaction=False) as pipe:
            for event in events:
                head = f"{event.kind.value}\n{event.subject}\n{event.tenant}\n{event.seq}\n{event.at_ms}\n"
                fields: dict[Any, Any] = {"e": head.encode() + _encode.encode(event.data)}
                pipe.xadd(self._keys[0], fields, maxlen=self._options.platform_events_max, approximate=True)
            await cancellable(pipe.execute())

    async def head(self) -> str:
        async def newest() -> list[str]:
            async with self._client.pipeline(transaction=False) as pipe:
                for key in self._keys:
                    pipe.xrevrange(key, count=1)
                return [entries[0][0].decode() if entries else "0-0" for entries in await pipe.execute()]

        return ",".join(await persistently(newest))

    async def read(self, after: str, limit: int, wait_s: float) -> Page:
        positions = self._positions(after)
        gap = await self._trimmed(positions)
        words: list[Any] = ["XREAD", "COUNT", limit]
        if wait_s > 0:
            words += ["BLOCK", max(1, round(wait_s * 1000))]
        words += ["STREAMS", *self._keys, *positions]
        async with translated():
            answer = await blocking_command(self._blocking, *words)
        arrived: list[tuple[tuple[int, int], int, str, dict[bytes, bytes]]] = []
        for key, entries in answer or ():
            index = self._keys.index(key.decode())
            for entry, fields in entries:
                ms, _, number = entry.decode().partition("-")
                arrived.append(((int(ms), int(number)), index, entry.decode(), fields))
        arrived.sort(key=lambda item: item[:2])
        events = []
        for _, index, entry, fields in arrived:
            positions[index] = entry
            events.append(_decode(fields, ",".join(positions)))
        return Page(events=events, cursor=",".join(positions), gap=gap)

    async def _trimmed(self, positions: Sequence[str]) -> bool:
        """Whether events after these positions were already cut off."""
        if all(position == "0-0" for position in positions):
            return False
        async with translated(), self._client.pipeline(transaction=False) as pipe:
            for key in self._keys:
                pipe.xrange(key, count=1)
            oldest = await cancellable(pipe.execute())
        return any(
            position != "0-0" and (not entries or _order(position) < _order(entries[0][0].decode()))
            for position, entries in zip(positions, oldest, strict=True)
        )

    def _positions(self, cursor: str) -> list[str]:
        positions = cursor.split(",") if cursor else ["0-0"] * len(self._keys)
        if len(positions) != len(self._keys) or not all(_POSITION.match(position) for position in positions):
            raise InvalidInput(
                f"{cursor!r} is not a cursor of this event log", field="after", mend="a cursor from an earlier event"
            )
        return positions

    async def task_log(self, task_id: str, after_seq: int) -> list[Event]:
        for prefix in self._scripts.prefixes:
            (fields,) = await persistently(lambda p=prefix: self._scripts.call("get", p, task_id))  # type: ignore[misc]
            record = decode_record(fields)
            if record is None:
                continue
            stored = dict(zip(fields[::2], fields[1::2], strict=True))
            lines = await persistently(lambda p=prefix: self._client.lrange(f"{p}:log:{task_id}", 0, -1))  # type: ignore[misc]
            later = [
                Event(
                    kind=EventKind(line["kind"]),
                    at_ms=line["at_ms"],
                    subject=task_id,
                    tenant=record.task.tenant,
                    seq=line["seq"],
                    data=line["data"],
                )
                for line in (
                    *msgspec.json.decode(b"[" + stored.get(b"lg", b"") + b"]"),
                    *map(msgspec.json.decode, lines),
                )
            ]
            later.sort(key=lambda event: event.seq)
            return [event for event in (first_event(record, int(stored[b"at"])), *later) if event.seq > after_seq]
        return []

    async def put_snapshot(self, name: str, body: bytes) -> None:
        await persistently(lambda: self._client.set(f"{self._scripts.prefixes[0]}:snapshot:{name}", body))

    async def snapshot(self, name: str) -> bytes | None:
        body: bytes | None = await persistently(
            lambda: command(self._client, "GET", f"{self._scripts.prefixes[0]}:snapshot:{name}")
        )
        return body

    async def close(self) -> None:
        """Nothing of its own to close: the clients belong to whoever made them."""


def _order(position: str) -> tuple[int, int]:
    ms, _, number = position.partition("-")
    return int(ms), int(number)


def _decode(values: dict[bytes, bytes], cursor: str) -> Event:
    kind, subject, tenant, seq, at_ms, data = values[b"e"].split(b"\n", 5)
    return Event(
        kind=EventKind(kind.decode()),
        at_ms=int(at_ms),
        subject=subject.decode(),
        data=msgspec.json.decode(data),
        tenant=tenant.decode(),
        seq=int(seq),
        cursor=cursor,
    )
