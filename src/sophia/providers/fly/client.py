"""Calls of Fly's Machines API, at the pace that it allows: a request a second for each action on each machine, in bursts
of three, and more for looking."""

from __future__ import annotations

import asyncio
from typing import TypeVar
from urllib.parse import quote

import msgspec

from sophia.nouns.clock import Clock
from sophia.nouns.errors import RateLimited, SophiaError, Unavailable
from sophia.providers.fly import wire
from sophia.providers.fly.refusals import refusal
from sophia.providers.http import ApiTransport

T = TypeVar("T")

LOOKING = ("list", "get")
LONGEST_TURN_S = 10.0
"""A caller that would have to wait longer for its turn is refused at once: nothing was sent."""
MOST_BUCKETS = 1000
NONCE = "fly-machine-lease-nonce"


class Bucket:
    """``rate_per_s`` turns a second, ``burst`` of them at once."""

    def __init__(self, rate_per_s: float, burst: int, clock: Clock) -> None:
        self._every_s = 1 / rate_per_s
        self._burst = burst
        self._clock = clock
        self._free_at_s = 0.0
        """When all turns will be there again."""

    def wait_s(self) -> float:
        return max(0.0, self._free_at_s - (self._burst - 1) * self._every_s - self._clock.monotonic_s())

    def take(self) -> float:
        """Take the next turn; how long it is until then."""
        wait_s = self.wait_s()
        self._free_at_s = max(self._free_at_s, self._clock.monotonic_s()) + self._every_s
        return wait_s

    def hold_back(self, seconds: float) -> None:
        """No turn before that, and no burst after it."""
        until_s = self._clock.monotonic_s() + seconds + (self._burst - 1) * self._every_s
        self._free_at_s = max(self._free_at_s, until_s)

    def is_full(self) -> bool:
        return self._free_at_s <= self._clock.monotonic_s()


class FlyClient:
    """Raises what ``refusals`` says, and ``Unavailable`` for answers that make no sense. ``rate_per_s`` 0: no pace."""

    def __init__(self, transport: ApiTransport, clock: Clock, *, rate_per_s: float = 1.0, burst: int = 3) -> None:
        self._transport = transport
        self._clock = clock
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._buckets: dict[tuple[str, str], Bucket] = {}

    def create_wait_s(self, app: str) -> float:
        bucket = self._bucket("create", app)
        return bucket.wait_s() if bucket else 0.0

    async def machines(self, app: str) -> list[wire.Listed]:
        return await self._call("list", app, "GET", _path(app), list[wire.Listed])

    async def machine(self, app: str, machine: str) -> wire.Listed:
        return await self._call("get", machine, "GET", _path(app, machine), wire.Listed)

    async def create(self, app: str, order: wire.Order) -> wire.Listed:
        """A name that is taken is a ``Conflict``: a second order for the same machine makes no second one."""
        return await self._call("create", app, "POST", _path(app), wire.Listed, order)

    async def update(self, app: str, machine: str, order: wire.Order, nonce: str) -> wire.Listed:
        """Replace its configuration, and start it with that."""
        return await self._call("update", machine, "POST", _path(app, machine), wire.Listed, order, nonce)

    async def lease(self, app: str, machine: str, ttl_s: int) -> str:
        """The nonce of a lease: until it ends or is given back, nobody else changes the machine. Raises ``Conflict``
        while another one holds it."""
        order = wire.LeaseOrder(ttl=ttl_s, description="a pool manager starts it")
        lease = await self._call("lease", machine, "POST", _path(app, machine, "lease"), wire.Lease, order)
        if not lease.key:
            raise Unavailable("Fly gave a lease without its nonce")
        return lease.key

    async def release(self, app: str, machine: str, nonce: str) -> None:
        await self._send("release", machine, "DELETE", _path(app, machine, "lease"), None, nonce)

    async def start(self, app: str, machine: str, nonce: str = "") -> None:
        await self._send("start", machine, "POST", _path(app, machine, "start"), None, nonce)

    async def stop(self, app: str, machine: str, *, signal: str, timeout_s: float) -> None:
        order = wire.StopOrder(signal=signal, timeout=f"{timeout_s:g}s")
        await self._send("stop", machine, "POST", _path(app, machine, "stop"), order)

    async def suspend(self, app: str, machine: str) -> None:
        await self._send("suspend", machine, "POST", _path(app, machine, "suspend"))

    async def destroy(self, app: str, machine: str) -> None:
        """Whatever it does at the moment."""
        await self._send("destroy", machine, "DELETE", _path(app, machine) + "?force=true")

    async def close(self) -> None:
        await self._transport.close()

    async def _call(
        self,
        action: str,
        key: str,
        method: str,
        path: str,
        answer: type[T],
        order: msgspec.Struct | None = None,
        nonce: str = "",
    ) -> T:
        body = await self._send(action, key, method, path, order, nonce)
        try:
            return msgspec.json.decode(body, type=answer)
        except msgspec.DecodeError as error:
            raise Unavailable(f"Fly's answer to {method} {path} is not what its API promises: {error}") from error

    async def _send(
        self,
        action: str,
        key: str,
        method: str,
        path: str,
        order: msgspec.Struct | None = None,
        nonce: str = "",
    ) -> bytes:
        bucket = self._bucket(action, key)
        if bucket is not None:
            if bucket.wait_s() > LONGEST_TURN_S:
                raise RateLimited(f"waiting for Fly's rate limit on {action}", retry_after_s=bucket.wait_s())
            await asyncio.sleep(bucket.take())
        body = None if order is None else msgspec.json.encode(order)
        reply = await self._transport.send(method, path, body, {NONCE: nonce} if nonce else None)
        if 200 <= reply.status < 300:
            return reply.body
        error: SophiaError = refusal(reply.status, reply.headers, reply.body)
        if isinstance(error, RateLimited) and error.retry_after_s and bucket is not None:
            bucket.hold_back(error.retry_after_s)
        raise error

    def _bucket(self, action: str, key: str) -> Bucket | None:
        if not self._rate_per_s:
            return None
        bucket = self._buckets.get((action, key))
        if bucket is None:
            if len(self._buckets) >= MOST_BUCKETS:
                self._buckets = {name: one for name, one in self._buckets.items() if not one.is_full()}
            factor = 5 if action in LOOKING else 1
            bucket = Bucket(self._rate_per_s * factor, self._burst * factor, self._clock)
            self._buckets[action, key] = bucket
        return bucket


def _path(app: str, machine: str = "", rest: str = "") -> str:
    parts = ["/apps", quote(app, safe=""), "machines", quote(machine, safe=""), rest]
    return "/".join(part for part in parts if part)
