"""Queue engines as the state machine's test drives them: time that can be moved, deliveries that get lost, an audit."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import msgspec
import redis.asyncio as aioredis

from sophia.events.base import EventLog
from sophia.events.redis import RedisEventLog
from sophia.nouns.task import TaskState
from sophia.queue.base import QueueUpkeep, TaskQueue, WorkQueue
from sophia.queue.redis import QueueOptions, RedisTaskQueue, RedisUpkeep, RedisWorkQueue
from sophia.queue.redis.shared import GROUP, PRIORITIES, partition_prefix
from sophia.redis.connection import Client, connect
from tests.support.jetstream_bench import jetstream_bench
from tests.support.waiting import eventually

STREAMS = ("light", "coding")
LEASE_S = 90.0


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of the test is configured with. ``ordered``: one partition and no caps, so the order is determined."""

    partitions: int = 1
    fair_window: int = 3
    tenant_max_running: int | None = None
    max_running: dict[str, int] = {}

    @property
    def ordered(self) -> bool:
        return self.partitions == 1 and self.tenant_max_running is None and not self.max_running


class QueueBench(Protocol):
    """An engine under test. An engine takes part by an entry in ``BENCHES``."""

    tasks: TaskQueue
    work: WorkQueue
    events: EventLog

    def upkeep(self) -> QueueUpkeep:
        """As a router that has just taken over the lead."""

    async def advance(self, seconds: float) -> None:
        """Everything that is due at some time becomes due that much sooner."""

    async def lose_delivery(self, stream: str) -> str | None:
        """Deliver an entry to a worker that dies before it begins the attempt; the task's id."""

    async def poison(self, stream: str, priority: int) -> bool:
        """Add an entry that is no task; ``False`` where there is no such thing."""

    async def poisoned(self) -> int:
        """Entries that were set aside."""

    async def reader_is_waiting(self) -> None:
        """Returns once a worker's ``lease`` waits for work."""

    async def audit(self, states: Mapping[str, TaskState]) -> list[str]:
        """What is wrong with where these tasks are; no other task may be anywhere."""


BenchFactory = Callable[[str, Profile], AbstractAsyncContextManager[QueueBench]]

_ADVANCE = """
local ms = tonumber(ARGV[1])
for _, zset in ipairs({'due', 'leases', 'startby'}) do
  local key = KEYS[1] .. ':' .. zset
  local all = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  for i = 1, #all, 2 do redis.call('ZADD', key, tonumber(all[i + 1]) - ms, all[i]) end
end
for _, key in ipairs(redis.call('KEYS', KEYS[1] .. ':t:*')) do
  for _, field in ipairs({'d', 'due'}) do
    if redis.call('HEXISTS', key, field) == 1 then redis.call('HINCRBY', key, field, string.format('%d', -ms)) end
  end
end
for _, key in ipairs(redis.call('KEYS', KEYS[1] .. ':stream:*')) do
  if #redis.call('XINFO', 'GROUPS', key) > 0 then
    for _, p in ipairs(redis.call('XPENDING', key, 'workers', '-', '+', 1000)) do
      redis.call('XCLAIM', key, 'workers', p[2], 0, p[1], 'IDLE', string.format('%d', p[3] + ms), 'JUSTID')
    end
  end
end
"""


class RedisBench:
    def __init__(self, client: Client, blocking: Client, profile: Profile) -> None:
        options = QueueOptions(
            streams=STREAMS,
            partitions=profile.partitions,
            lease_s=LEASE_S,
            fair_window=profile.fair_window,
            age_boost_s=86_400,
            tenant_max_running=profile.tenant_max_running,
            max_running=profile.max_running,
        )
        self._client = client
        self._blocking = blocking
        self._options = options
        self._prefixes = [partition_prefix(n) for n in range(profile.partitions)]
        self._advance = client.register_script(_ADVANCE)
        self.tasks: TaskQueue = RedisTaskQueue(client, options)
        self.work: WorkQueue = RedisWorkQueue(client, blocking, options)
        self.events: EventLog = RedisEventLog(client, blocking, options)

    def upkeep(self) -> QueueUpkeep:
        return RedisUpkeep(self._client, self._blocking, self._options)

    async def advance(self, seconds: float) -> None:
        for prefix in self._prefixes:
            await self._advance(keys=[prefix], args=[round(seconds * 1000)])

    async def lose_delivery(self, stream: str) -> str | None:
        for prefix in self._prefixes:
            for priority in range(PRIORITIES):
                key = f"{prefix}:stream:{stream}:{priority}"
                try:
                    read: Any = await self._client.xreadgroup(GROUP, "short-lived", {key: ">"}, count=1)
                except aioredis.ResponseError:
                    continue  # no worker has asked yet, so nothing can have been delivered
                if read:
                    (_, fields) = read[0][1][0]
                    return _task_id(fields)
        return None

    async def poison(self, stream: str, priority: int) -> bool:
        await self._client.xadd(f"{self._prefixes[0]}:stream:{stream}:{priority}", {"what": "ever"})
        return True

    async def poisoned(self) -> int:
        return sum([await self._client.xlen(f"{prefix}:poison") for prefix in self._prefixes])

    async def reader_is_waiting(self) -> None:
        async def blocked() -> bool:
            return bool((await self._client.info("clients"))["blocked_clients"])

        await eventually(blocked)

    async def audit(self, states: Mapping[str, TaskState]) -> list[str]:
        wrong: list[str] = []
        places: dict[str, list[str]] = {}
        for prefix in self._prefixes:
            partition = await _read_partition(self._client, prefix)
            wrong += partition.wrong
            for task_id, place in partition.places:
                places.setdefault(task_id, []).append(place)
        for task_id, state in states.items():
            found = sorted(places.pop(task_id, []))
            if found not in _expected(state):
                wrong.append(f"task {task_id} is {state} and in {found}")
        return [*wrong, *(f"unknown task {task_id} in {found}" for task_id, found in places.items())]


def _expected(state: TaskState) -> list[list[str]]:
    if state is TaskState.QUEUED:
        return [["backlog"], ["pending"], ["stream"]]
    if state is TaskState.RUNNING:
        return [["leases", "pending"]]
    if state in (TaskState.SCHEDULED, TaskState.RETRYING):
        return [["due"]]
    return [["dead"]] if state is TaskState.DEAD else [[]]


class _Partition:
    """One partition's keys read as they are, apart from the scripts that wrote them."""

    def __init__(self, prefix: str, found: Mapping[str, Any]) -> None:
        self._prefix = prefix
        self._found = found
        counts = {name.decode(): value for name, value in found.get("count", {}).items()}
        self._counts = {
            name: int(value) for name, value in counts.items() if not name.startswith(("seen:", "scan:", "turn"))
        }
        self.places: list[tuple[str, str]] = []
        self.wrong: list[str] = []
        for zset in ("due", "leases", "dead"):
            self.places += [(task_id.decode(), zset) for task_id in found.get(zset, ())]
        for stream in STREAMS:
            for priority in range(PRIORITIES):
                self._look_at(f"{stream}:{priority}")
        self._compare_in_flight()

    def _entries(self, key: str) -> list[tuple[bytes, str]]:
        entries = ((entry, _task_id(fields)) for entry, fields in self._found.get(key, ()))
        return [(entry, task_id) for entry, task_id in entries if task_id is not None]

    def _look_at(self, name: str) -> None:
        entries = self._entries(f"stream:{name}")
        pending = {each["message_id"] for each in self._found.get(f"pending {name}", ())}
        self.places += [(task_id, "pending" if entry in pending else "stream") for entry, task_id in entries]
        self._compare(name, ("unread", "running"), len(entries))
        start = f"backlog:{name}:"
        lanes = {key.removeprefix(start): self._entries(key) for key in self._found if key.startswith(start)}
        behind = [(task_id, "backlog") for items in lanes.values() for _, task_id in items]
        self.places += behind
        self._compare(name, ("backlog",), len(behind))
        turns = [lane.decode() for lane in self._found.get(f"ring:{name}", ())]
        if sorted(turns) != sorted(lanes):
            self.wrong.append(f"{self._prefix} {name}: turns of {turns}, backlogs of {sorted(lanes)}")

    def _compare(self, name: str, kinds: tuple[str, ...], there: int) -> None:
        counted = sum(self._counts.get(f"{kind}:{name}", 0) for kind in kinds)
        if counted != there:
            self.wrong.append(f"{self._prefix} {name}: {there} there, {' and '.join(kinds)} counted {counted}")

    def _compare_in_flight(self) -> None:
        """Of every tenant, what is in a stream or runs."""
        there = Counter(
            self._found[f"t:{task_id}"][b"n"].decode()
            for task_id, place in self.places
            if place in ("stream", "pending")
        )
        start = "in:tenant:"
        counted = {name.removeprefix(start): n for name, n in self._counts.items() if name.startswith(start)}
        if counted != dict(there):
            self.wrong.append(f"{self._prefix}: in flight {dict(there)}, counted {counted}")


def _task_id(fields: Mapping[bytes, bytes]) -> str | None:
    """Of a stream entry; ``None`` for one that is no task."""
    return str(msgspec.json.decode(fields[b"b"])[0]) if b"b" in fields else None


async def _read_partition(client: Client, prefix: str) -> _Partition:
    keys: Any = await client.keys(f"{prefix}:*")
    names = [key.decode().removeprefix(f"{prefix}:") for key in keys]
    kept: list[str] = []
    async with client.pipeline(transaction=False) as pipe:
        for name in names:
            kind, key = name.partition(":")[0], f"{prefix}:{name}"
            if kind in ("stream", "backlog"):
                pipe.xrange(key)
            elif kind in ("t", "count"):
                pipe.hgetall(key)
            elif kind == "ring":
                pipe.lrange(key, 0, -1)
            elif kind in ("due", "leases", "dead"):
                pipe.zrange(key, 0, -1)
            else:
                continue
            kept.append(name)
            if kind == "stream":
                pipe.xpending_range(key, GROUP, "-", "+", 10_000)
                kept.append(f"pending {name.partition(':')[2]}")
        answers = await pipe.execute(raise_on_error=False)
    # A stream that has no group yet has nothing pending.
    found = {name: answer for name, answer in zip(kept, answers, strict=True) if not isinstance(answer, Exception)}
    return _Partition(prefix, found)


@contextlib.asynccontextmanager
async def redis_bench(url: str, profile: Profile) -> AsyncIterator[QueueBench]:
    """An emptied Redis."""
    client: Client = connect(url)
    blocking: Client = connect(url, reply_timeout_s=70)
    await client.flushall()
    bench = RedisBench(client, blocking, profile)
    await bench.upkeep().upkeep(1)  # makes the streams' groups
    try:
        yield bench
    finally:
        await bench.work.close()
        await bench.tasks.close()
        await client.aclose()
        await blocking.aclose()


@contextlib.asynccontextmanager
async def jetstream_engine(url: str, profile: Profile) -> AsyncIterator[QueueBench]:
    """An emptied NATS server. It has neither partitions nor a window."""
    async with jetstream_bench(
        url,
        streams=STREAMS,
        lease_s=LEASE_S,
        tenant_max_running=profile.tenant_max_running,
        max_running=profile.max_running,
    ) as bench:
        yield bench


BENCHES: dict[str, BenchFactory] = {"redis": redis_bench, "jetstream": jetstream_engine}
