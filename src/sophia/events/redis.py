"""The event log on Redis: one capped stream per partition, what tasks and their lists hold, and snapshots."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from sophia.events.base import Page
from sophia.nouns.errors import InvalidInput
from sophia.nouns.event import Event, EventKind
from sophia.queue.redis.shared import QueueOptions, Scripts
from sophia.redis.base import Redis
from sophia.redis.connection import Script, persistently, translated
from sophia.redis.records import decode_record, first_event, unpacked_submission
from sophia.redis.waits import Waits

_encode = msgspec.json.Encoder()
_POSITION = re.compile(r"^\d{1,20}-\d{1,20}$")
_SWAP = """
if redis.call('GET', KEYS[1]) ~= (ARGV[2] or false) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1])
return 1
"""


class RedisEventLog:
    """Implements ``EventLog``. A cursor is one stream position per partition, joined by commas."""

    def __init__(self, client: Redis, blocking: Redis, options: QueueOptions) -> None:
        self._client = client
        self._waits = Waits(blocking)
        self._options = options
        self._scripts = Scripts(client, options)
        self._swap = Script(client, _SWAP)
        self._keys = [f"{prefix}:events" for prefix in self._scripts.prefixes]

    async def publish(self, events: Sequence[Event]) -> None:
        key = self._keys[0]
        calls = []
        for event in events:
            head = f"{event.kind.value}\n{event.subject}\n{event.tenant}\n{event.seq}\n{event.at_ms}\n"
            words = (
                "MAXLEN",
                "~",
                self._options.platform_events_max,
                "*",
                "e",
                head.encode() + _encode.encode(event.data),
            )
            calls.append(self._client.call(key, "XADD", key, *words))
        async with translated():
            await asyncio.gather(*calls)

    async def head(self) -> str:
        async def newest(key: str) -> str:
            entries = await persistently(lambda: self._client.call(key, "XREVRANGE", key, "+", "-", "COUNT", 1))
            return entries[0][0].decode() if entries else "0-0"

        return ",".join(await asyncio.gather(*map(newest, self._keys)))

    async def read(self, after: str, limit: int, wait_s: float) -> Page:
        positions = self._positions(after)
        gap = await self._trimmed(positions)
        reads: list[tuple[str, tuple[Any, ...]]] = []
        for group in self._client.together(self._keys):
            keys = [self._keys[place] for place in group]
            block = ("BLOCK", max(1, round(wait_s * 1000))) if wait_s > 0 else ()
            words = ("XREAD", "COUNT", limit, *block, "STREAMS", *keys, *(positions[place] for place in group))
            reads.append((keys[0], words))
        async with translated():
            if wait_s > 0:
                answers = await self._waits.first(reads)
            else:
                answers = await asyncio.gather(*(self._client.call(key, *words) for key, words in reads))
        arrived: list[tuple[tuple[int, int], int, str, list[bytes]]] = []
        for key, entries in (item for answer in answers for item in answer or ()):
            index = self._keys.index(key.decode())
            for entry, fields in entries:
                ms, _, number = entry.decode().partition("-")
                arrived.append(((int(ms), int(number)), index, entry.decode(), fields))
        arrived.sort(key=lambda item: item[:2])
        events = []
        for _, index, entry, fields in arrived:
            positions[index] = entry
            events.append(_decode(entry, fields, ",".join(positions)))
        return Page(events=events, cursor=",".join(positions), gap=gap)

    async def _trimmed(self, positions: Sequence[str]) -> bool:
        """Whether events after these positions were already cut off."""
        if all(position == "0-0" for position in positions):
            return False
        calls = (self._client.call(key, "XRANGE", key, "-", "+", "COUNT", 1) for key in self._keys)
        oldest = await asyncio.gather(*calls, return_exceptions=True)
        failures = [answer for answer in oldest if isinstance(answer, BaseException)]
        if len(failures) == len(oldest):
            async with translated():
                raise failures[0]
        # What cannot be asked now is read from the same position when it can be, and looked at again then.
        return any(
            position != "0-0" and (not entries or _order(position) < _order(entries[0][0].decode()))
            for position, entries in zip(positions, oldest, strict=True)
            if not isinstance(entries, BaseException)
        )

    def _positions(self, cursor: str) -> list[str]:
        positions = cursor.split(",") if cursor else ["0-0"] * len(self._keys)
        if len(positions) != len(self._keys) or not all(_POSITION.match(position) for position in positions):
            raise InvalidInput(
                f"{cursor!r} is not a cursor of this event log", field="after", mend="a cursor from an earlier event"
            )
        return positions

    async def task_log(self, task_id: str, after_seq: int) -> list[Event]:
        logs, failure = await self._scripts.everywhere(lambda prefix: self._log_in(prefix, task_id))
        found = next((log for log in logs if log is not None), None)
        if found is None and failure is not None:
            raise failure
        return [event for event in found or () if event.seq > after_seq]

    async def _log_in(self, prefix: str, task_id: str) -> list[Event] | None:
        """``None`` when the partition does not know the task."""
        (fields,) = await persistently(lambda: self._scripts.call("get", prefix, task_id))
        record = decode_record(fields)
        if record is None:
            return None
        stored = dict(zip(fields[::2], fields[1::2], strict=True))
        key = f"{prefix}:log:{task_id}"
        lines = await persistently(lambda: self._client.call(key, "LRANGE", key, 0, -1))
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
        return [first_event(record, int(stored[b"at"])), *later]

    async def put_snapshot(self, name: str, body: bytes) -> None:
        key = f"{self._scripts.prefixes[0]}:snapshot:{name}"
        await persistently(lambda: self._client.call(key, "SET", key, body))

    async def swap_snapshot(self, name: str, was: bytes | None, body: bytes) -> bool:
        key = f"{self._scripts.prefixes[0]}:snapshot:{name}"
        words = (body,) if was is None else (body, was)
        done = await persistently(lambda: self._swap(key, words))
        return bool(done)

    async def snapshot(self, name: str) -> bytes | None:
        key = f"{self._scripts.prefixes[0]}:snapshot:{name}"
        body: bytes | None = await persistently(lambda: self._client.call(key, "GET", key))
        return body

    async def close(self) -> None:
        """Nothing of its own to close: the clients belong to whoever made them."""


def _order(position: str) -> tuple[int, int]:
    ms, _, number = position.partition("-")
    return int(ms), int(number)


def _decode(entry: str, fields: list[bytes], cursor: str) -> Event:
    """An entry has one field (``common.lua``); what scripts write has the entry's time."""
    kind, subject, tenant, seq, at_ms, text = fields[1].split(b"\n", 5)
    data = msgspec.json.decode(text)
    return Event(
        kind=EventKind(kind.decode()),
        at_ms=int(at_ms or entry.partition("-")[0]),
        subject=subject.decode(),
        data=unpacked_submission(data) if isinstance(data, list) else data,
        tenant=tenant.decode(),
        seq=int(seq),
        cursor=cursor,
    )
