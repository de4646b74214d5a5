"""Lambda's API over HTTP, at the pace that it allows an account."""

from __future__ import annotations

import asyncio
from typing import Protocol, TypeVar

import msgspec

from sophia.nouns.clock import Clock
from sophia.nouns.errors import RateLimited, Unavailable
from sophia.providers.http import ApiTransport, Reply
from sophia.providers.lambda_cloud import wire
from sophia.providers.lambda_cloud.refusals import refusal

T = TypeVar("T")

LONGEST_TURN_S = 30.0
"""A caller that would have to wait longer for its turn is refused at once: nothing was sent."""


class Transport(Protocol):
    """One request and its whole answer. Raises ``Unavailable`` when there is none, or only a part of it."""

    async def send(self, method: str, path: str, body: bytes | None) -> Reply: ...

    async def close(self) -> None: ...


class AiohttpTransport(ApiTransport):
    """``base_url`` without a slash at its end; ``timeout_s`` for a whole exchange."""

    def __init__(self, base_url: str, api_key: str, timeout_s: float) -> None:
        super().__init__(base_url, api_key, timeout_s, "Lambda")


class Pace:
    """Turns that are at least ``every_s`` apart."""

    def __init__(self, every_s: float, clock: Clock) -> None:
        self._every_s = every_s
        self._clock = clock
        self._next_s = 0.0

    def wait_s(self) -> float:
        return max(0.0, self._next_s - self._clock.monotonic_s())

    def take(self) -> float:
        """Take the next turn; how long it is until then."""
        wait_s = self.wait_s()
        self._next_s = self._clock.monotonic_s() + wait_s + self._every_s
        return wait_s

    def hold_back(self, seconds: float) -> None:
        """No turn before that."""
        self._next_s = max(self._next_s, self._clock.monotonic_s() + seconds)


class LambdaClient:
    """Calls of the API. Raises what ``refusals`` says, and ``Unavailable`` for answers that make no sense."""

    def __init__(self, transport: Transport, clock: Clock, *, request_every_s: float, launch_every_s: float) -> None:
        self._transport = transport
        self._request_every_s = request_every_s
        self._requests = Pace(request_every_s, clock)
        self._launches = Pace(launch_every_s, clock)

    def launch_wait_s(self) -> float:
        """Until a launch may be sent, but for the second or two that any request waits for."""
        return self._launches.wait_s()

    async def instance_types(self) -> dict[str, wire.InstanceTypesItem]:
        return (await self._call("GET", "/instance-types", wire.Data[dict[str, wire.InstanceTypesItem]])).data

    async def instances(self) -> list[wire.ListedInstance]:
        return (await self._call("GET", "/instances", wire.Data[list[wire.ListedInstance]])).data

    async def ssh_keys(self) -> list[str]:
        return [key.name for key in (await self._call("GET", "/ssh-keys", wire.Data[list[wire.SshKey]])).data]

    async def launch(self, order: wire.LaunchOrder) -> list[str]:
        """Ids of what was launched. It must never be repeated: the API knows no idempotency key."""
        await self._turn(self._launches)
        answer = await self._call("POST", "/instance-operations/launch", wire.Data[wire.Launched], order)
        return answer.data.instance_ids

    async def terminate(self, instance_id: str) -> None:
        order = wire.TerminateOrder(instance_ids=(instance_id,))
        await self._call("POST", "/instance-operations/terminate", wire.Data[wire.Terminated], order)

    async def close(self) -> None:
        await self._transport.close()

    async def _call(self, method: str, path: str, answer: type[T], order: msgspec.Struct | None = None) -> T:
        await self._turn(self._requests)
        body = None if order is None else msgspec.json.encode(order)
        try:
            reply = await self._transport.send(method, path, body)
        finally:
            # The cloud counts from a request's arrival, which is some time after our turn.
            self._requests.hold_back(self._request_every_s)
        if reply.status != 200:
            error = refusal(reply.status, reply.headers, reply.body)
            if isinstance(error, RateLimited) and error.retry_after_s:
                self._requests.hold_back(error.retry_after_s)
                self._launches.hold_back(error.retry_after_s)
            raise error
        try:
            return msgspec.json.decode(reply.body, type=answer)
        except msgspec.DecodeError as error:
            raise Unavailable(f"Lambda's answer to {path} is not what its API promises: {error}") from error

    async def _turn(self, pace: Pace) -> None:
        """Wait for the account's next turn. Raises ``RateLimited`` when that is too far away."""
        if pace.wait_s() > LONGEST_TURN_S:
            raise RateLimited("waiting for the rate limit of the account", retry_after_s=pace.wait_s())
        await asyncio.sleep(pace.take())
