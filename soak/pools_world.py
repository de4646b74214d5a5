"""The world around a pool manager, in virtual time: a cloud, its machines' workers, a queue, a ledger, an event log.

What the manager does to it passes through a ``Mortal``, which can be killed at any such step: before anything was done,
or after it was done and before the manager learns of it. Nothing of the dead gets through any more.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

import msgspec

from sophia.emulated.cloud import EmulatedMachine
from sophia.emulated.lambda_cloud import PREFIX, EmulatedLambda
from sophia.events.base import Page
from sophia.nouns.clock import Clock
from sophia.nouns.errors import Unavailable
from sophia.nouns.event import Event
from sophia.nouns.pool import Instance, InstanceState
from sophia.providers.lambda_cloud import Reply
from sophia.queue.base import StreamStats, WorkerBeat

T = TypeVar("T")

NETWORK_S = (0.02, 0.4)
GIVES_UP_S = 30.0
LATE_S = (20.0, 300.0)
"""After the caller gave up, a request may still be on its way that long."""


class Killed(BaseException):
    """What a killed manager runs into."""


class Mortal:
    """One life of a manager. ``dies_at``: label of the step, which one of that label, and whether it is done first."""

    def __init__(self, dies_at: tuple[str, int, bool] | None) -> None:
        self.dies_at = dies_at
        self.dead = False
        self._steps: dict[str, int] = {}

    async def step(self, label: str, work: Awaitable[T]) -> T:
        count = self._steps[label] = self._steps.get(label, 0) + 1
        fatal = self.dies_at is not None and self.dies_at[:2] == (label, count)
        if self.dead or (fatal and self.dies_at is not None and not self.dies_at[2]):
            self.dead = True
            if asyncio.iscoroutine(work):
                work.close()
            raise Killed
        result = await work
        if fatal:
            self.dead = True
        if self.dead:
            raise Killed
        return result


class LedgerRows:
    """What a ledger keeps, as JSON, as it does."""

    def __init__(self, chance: random.Random, fails: float) -> None:
        self._rows: dict[str, bytes] = {}
        self._chance = chance
        self._fails = fails

    async def put(self, instance: Instance) -> None:
        await asyncio.sleep(0.005)
        if self._chance.random() < self._fails:
            raise Unavailable("the ledger is away")
        self._rows[instance.id] = msgspec.json.encode(instance)

    def all(self) -> list[Instance]:
        return [msgspec.json.decode(row, type=Instance) for row in self._rows.values()]


class MortalLedger:
    def __init__(self, rows: LedgerRows, mortal: Mortal) -> None:
        self._rows = rows
        self._mortal = mortal

    async def record_instance(self, instance: Instance) -> None:
        label = "intent" if instance.state is InstanceState.REQUESTED else "record"
        await self._mortal.step(label, self._rows.put(instance))

    async def instances(self, live_only: bool) -> list[Instance]:
        async def read() -> list[Instance]:
            return [one for one in self._rows.all() if not live_only or one.state is not InstanceState.TERMINATED]

        return await self._mortal.step("load", read())


class Log:
    """What an event log keeps."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.snapshots: dict[str, bytes] = {}
        self.grown = asyncio.Event()


class MortalLog:
    def __init__(self, log: Log, mortal: Mortal) -> None:
        self._log = log
        self._mortal = mortal

    async def publish(self, events: Sequence[Event]) -> None:
        async def write() -> None:
            self._log.events += events
            self._log.grown.set()

        await self._mortal.step("publish", write())

    async def head(self) -> str:
        return str(len(self._log.events))

    async def read(self, after: str, limit: int, wait_s: float) -> Page:
        if int(after or 0) >= len(self._log.events):
            self._log.grown.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._log.grown.wait()
            except TimeoutError:
                pass
        found = self._log.events[int(after or 0) :][:limit]
        return Page(events=found, cursor=str(int(after or 0) + len(found)))

    async def put_snapshot(self, name: str, body: bytes) -> None:
        async def write() -> None:
            self._log.snapshots[name] = body

        await self._mortal.step("snapshot", write())

    async def snapshot(self, name: str) -> bytes | None:
        return self._log.snapshots.get(name)


class Late:
    """Requests that arrive when nobody expects them any more."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[Any]] = set()

    def send(self, request: Awaitable[Any], chance: random.Random) -> None:
        async def arrive() -> None:
            await asyncio.sleep(GIVES_UP_S + chance.uniform(*LATE_S))
            try:
                await request
            except Unavailable:
                return

        task = asyncio.ensure_future(arrive())
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def __len__(self) -> int:
        return len(self._under_way)


class MortalTransport:
    """Requests into the emulated cloud's application, over a network that loses some of them."""

    def __init__(self, cloud: EmulatedLambda, mortal: Mortal, chance: random.Random, lost: float, late: Late) -> None:
        self._cloud = cloud
        self._mortal = mortal
        self._chance = chance
        self._lost = lost
        self.late = late

    async def send(self, method: str, path: str, body: bytes | None) -> Reply:
        label = {"/instances": "list", "/instance-types": "types", "/ssh-keys": "keys"}.get(
            path, path.rpartition("/")[2]
        )
        return await self._mortal.step(label, self._exchange(method, path, body))

    async def _exchange(self, method: str, path: str, body: bytes | None) -> Reply:
        await asyncio.sleep(self._chance.uniform(*NETWORK_S))
        if self._chance.random() < self._lost:
            if path.endswith("/launch"):
                self.late.send(asked(self._cloud, method, path, body), self._chance)
                await asyncio.sleep(GIVES_UP_S)
            raise Unavailable("the request was lost")
        reply = await asked(self._cloud, method, path, body)
        await asyncio.sleep(self._chance.uniform(*NETWORK_S))
        return reply

    async def close(self) -> None:
        return


async def asked(cloud: EmulatedLambda, method: str, path: str, body: bytes | None) -> Reply:
    """The application's own answer; an answer that it breaks off is ``Unavailable``."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": PREFIX + path,
        "raw_path": (PREFIX + path).encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"authorization", f"Bearer {cloud.api_key}".encode())],
        "server": ("cloud", 80),
        "client": ("here", 1),
    }
    said: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body or b"", "more_body": False}

    async def send(message: Any) -> None:
        said.append(message)

    await cloud.app(scope, receive, send)
    if said[-1].get("more_body"):
        raise Unavailable("the answer broke off")
    headers = {name.decode(): value.decode() for name, value in said[0]["headers"]}
    return Reply(status=said[0]["status"], headers=headers, body=b"".join(m.get("body", b"") for m in said[1:]))


class Workers:
    """The queue as the manager sees it, and the workers on the cloud's machines.

    A worker joins some time after its machine became active, unless its GPU never works; it takes what waits, one task
    at a time, and leaves when it is asked to and has nothing to do.
    """

    def __init__(self, cloud: EmulatedLambda, clock: Clock, chance: random.Random, arrivals: list[tuple[float, float]]):
        self._cloud = cloud
        self._clock = clock
        self._chance = chance
        self._arrivals = sorted(arrivals)
        self._waiting: list[tuple[float, float]] = []
        self._busy_until_s: dict[str, float | None] = {}
        self._tasks: dict[str, tuple[float, float]] = {}
        self._done: dict[str, int] = {}
        self._joins_s: dict[str, float | None] = {}
        self._leaving: set[str] = set()
        self._left: set[str] = set()
        self.broken_gpus = 0.1

    def look(self) -> None:
        """Bring everything up to now."""
        now_s = self._clock.monotonic_s()
        while self._arrivals and self._arrivals[0][0] <= now_s:
            self._waiting.append(self._arrivals.pop(0))
        present = {m.name: m for m in self._cloud.fleet.machines.values() if self._works(m, now_s)}
        for name in list(self._busy_until_s):
            until_s = self._busy_until_s[name]
            if name not in present:
                # What ran there goes back to the queue.
                if name in self._tasks:
                    self._waiting.insert(0, self._tasks.pop(name))
                del self._busy_until_s[name]
            elif until_s is not None and until_s <= now_s:
                self._tasks.pop(name, None)
                self._busy_until_s[name] = None
                self._done[name] = self._done.get(name, 0) + 1
        for name in present:
            if self._busy_until_s.get(name) is not None:
                continue
            if name in self._leaving:
                self._left.add(name)
                self._busy_until_s.pop(name, None)
            elif self._waiting:
                task = self._waiting.pop(0)
                self._tasks[name] = task
                self._busy_until_s[name] = now_s + task[1]
            else:
                self._busy_until_s[name] = None

    def _works(self, machine: EmulatedMachine, now_s: float) -> bool:
        if machine.name in self._left or self._cloud.fleet.status(machine) not in ("active", "unhealthy"):
            return False
        if machine.name not in self._joins_s:
            broken = self._chance.random() < self.broken_gpus
            self._joins_s[machine.name] = None if broken else (machine.active_s or 0) + self._chance.uniform(10, 60)
        joins_s = self._joins_s[machine.name]
        return joins_s is not None and now_s >= joins_s

    async def stats(self) -> list[StreamStats]:
        self.look()
        running = sum(until is not None for until in self._busy_until_s.values())
        age = max((self._clock.monotonic_s() - at for at, _ in self._waiting), default=None)
        return [
            StreamStats(
                stream="embedding",
                priority="normal",
                waiting=len(self._waiting),
                running=running,
                delayed=0,
                retrying=0,
                oldest_age_s=age,
            )
        ]

    async def workers(self) -> list[WorkerBeat]:
        self.look()
        return [
            WorkerBeat(
                worker=name,
                pool="embedding",
                state="draining" if name in self._leaving else "ready",
                busy=int(until is not None),
                slots=1,
                started_at_ms=0,
                done=self._done.get(name, 0),
            )
            for name, until in self._busy_until_s.items()
        ]

    async def request_stop(self, worker: str) -> None:
        self._leaving.add(worker)

    @property
    def open_tasks(self) -> int:
        return len(self._arrivals) + len(self._waiting) + len(self._tasks)
