"""A Redis Cluster: one shared connection to each of its servers, and calls that follow their slot.

Calls go to the server that owns the slot of their key (``CLUSTER SLOTS``; the newer ``CLUSTER SHARDS`` is not
everywhere). ``MOVED`` is followed: such a call was not executed. ``ASK`` is not, on purpose. It is what the server
answers for a key that is not there while the slot is being moved key by key, and the queue's scripts name a partition's
prefix, under which nothing is ever stored, as their key: so no script runs on half a partition, and callers wait until
the slot has arrived as a whole.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
import redis.asyncio as aioredis
from redis import exceptions as driver
from redis.crc import key_slot

from sophia.nouns.errors import ConfigError
from sophia.redis.line import Line

log = logging.getLogger(__name__)

MOST_MOVES = 5
LOOK_TIMEOUT_S = 3.0

T = TypeVar("T")


class Address(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A range of slots, both ends included, and who keeps it."""

    first: int
    last: int
    master: Address
    replicas: int


def slot_of(key: str) -> int:
    slot: int = key_slot(key.encode())
    return slot


class Cluster:
    """Implements ``Redis``. ``pool_of`` makes the pool that connections to a server are taken from."""

    def __init__(self, seeds: Sequence[Address], pool_of: Callable[[Address], aioredis.ConnectionPool]) -> None:
        self._seeds = list(seeds)
        self._pool_of = pool_of
        self._lines: dict[Address, Line] = {}
        self._callers: weakref.WeakSet[ClusterCaller] = weakref.WeakSet()
        self._parts: list[Part] = []
        self._owners: dict[int, Address] = {}
        """Of slots that were asked for."""
        self._suspects: set[Address] = set()
        """Did not answer: before they are asked again, the others are asked who owns what."""
        self._looking: asyncio.Task[None] | None = None

    async def call(self, key: str, *words: Any) -> Any:
        return await self.routed(slot_of(key), lambda address: self._line(address).call(*words))

    def caller(self, key: str) -> ClusterCaller:
        made = ClusterCaller(self, slot_of(key))
        self._callers.add(made)
        return made

    def together(self, keys: Sequence[str]) -> list[list[int]]:
        by_slot: dict[int, list[int]] = {}
        for place, key in enumerate(keys):
            by_slot.setdefault(slot_of(key), []).append(place)
        return list(by_slot.values())

    async def parts(self) -> list[Part]:
        """The cluster as it is now. Raises the driver's errors and ``ConfigError``."""
        await self._look()
        return list(self._parts)

    async def routed(self, slot: int, send: Callable[[Address], Awaitable[T]]) -> T:
        """Send to whoever owns the slot. Raises the driver's errors."""
        for _ in range(MOST_MOVES):
            address = await self._owner(slot)
            try:
                return await send(address)
            except driver.MovedError as moved:
                self._owners[slot] = Address(moved.host or address.host, int(moved.port))
                self._look_soon()
            except (driver.ConnectionError, driver.TimeoutError, driver.ClusterDownError, OSError):
                self._suspects.add(address)
                raise
        raise driver.TryAgainError("the servers of the cluster do not agree on who owns a slot")

    async def _owner(self, slot: int) -> Address:
        owner = self._owners.get(slot)
        if owner is None or owner in self._suspects:
            await self._look()
            part = next((part for part in self._parts if part.first <= slot <= part.last), None)
            if part is None:
                raise driver.ClusterDownError("no server of the cluster owns the slot")
            owner = self._owners[slot] = part.master
        return owner

    def new_line(self, address: Address) -> Line:
        return Line(self._pool_of(address))

    def _line(self, address: Address) -> Line:
        line = self._lines.get(address)
        if line is None:
            line = self._lines[address] = self.new_line(address)
        return line

    def _look_soon(self) -> asyncio.Task[None]:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._find_parts())
            # Whoever did not wait for it hears of trouble with its own next call.
            self._looking.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._looking

    async def _look(self) -> None:
        await asyncio.shield(self._look_soon())

    async def _find_parts(self) -> None:
        known = [part.master for part in self._parts]
        asked = sorted(dict.fromkeys([*known, *self._seeds]), key=lambda address: address in self._suspects)
        trouble: Exception = driver.ConnectionError("no server of the cluster is known")
        for address in asked:
            try:
                async with asyncio.timeout(LOOK_TIMEOUT_S):
                    answer = await self._line(address).call("CLUSTER", "SLOTS")
            except (driver.ConnectionError, driver.TimeoutError, TimeoutError, OSError) as error:
                self._suspects.add(address)
                trouble = driver.ConnectionError("no server of the cluster answers") if len(asked) > 1 else error
                continue
            except driver.ResponseError as error:
                if "cluster support disabled" in str(error):
                    raise ConfigError(
                        "the Redis server is not a member of a cluster, but its URL says so",
                        field="redis.url",
                        mend="redis:// or rediss:// instead of redis+cluster:// or rediss+cluster://",
                    ) from error
                raise
            if answer:
                await self._take_over(address, answer)
                return
            trouble = driver.ClusterDownError("the cluster has no slots")
        raise trouble

    async def _take_over(self, asked: Address, answer: Any) -> None:
        self._parts = [
            Part(
                first=first,
                last=last,
                # A server that does not know its own address means the one it was asked at.
                master=Address((master[0] or b"").decode() or asked.host, master[1]),
                replicas=len(replicas),
            )
            for first, last, master, *replicas in answer
        ]
        masters = {part.master for part in self._parts}
        owners = {slot: part.master for part in self._parts for slot in self._owners if part.first <= slot <= part.last}
        if moved := [slot for slot, owner in owners.items() if owner != self._owners[slot]]:
            log.info("%d slots have another owner", len(moved))
        self._owners = owners
        self._suspects.clear()
        for address in self._lines.keys() - masters - {asked}:
            await self._lines.pop(address).close()

    async def aclose(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})
        for caller in list(self._callers):
            await caller.close()
        for line in self._lines.values():
            await line.close()


class ClusterCaller:
    """Implements ``Caller`` for one slot: connects anew when the slot has another owner."""

    def __init__(self, cluster: Cluster, slot: int) -> None:
        self._cluster = cluster
        self._slot = slot
        self._at: Address | None = None
        self._line: Line | None = None

    async def call(self, *words: Any) -> Any:
        return await self._cluster.routed(self._slot, lambda address: self._call(address, words))

    async def _call(self, address: Address, words: Sequence[Any]) -> Any:
        if self._line is None or self._at != address:
            await self.close()
            self._at, self._line = address, self._cluster.new_line(address)
        return await self._line.call(*words)

    async def close(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            await line.close()
