"""Models that pools of ours serve: a client whose servers come from the endpoint registry."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sophia.cancel import cancel_all
from sophia.decisions.breaker import Breaker
from sophia.decisions.replicas import Replica, affinity_of, choose, cost_tokens
from sophia.inference.client import Answer, Late, Limits, Saturated, ServerDown
from sophia.inference.registry import EndpointRegistry
from sophia.inference.reply import HttpReply
from sophia.inference.upstream import Upstream
from sophia.nouns.endpoint import Endpoint
from sophia.nouns.errors import SophiaError, Unavailable
from sophia.settings.loaded import ResolvedProvider

_log = logging.getLogger(__name__)

FRESH_S = 1.0
"""While calls come, the registry is looked at so often: a server that drains gets nothing new after that."""
KNOWN_S = 60.0
"""While the registry does not answer, what it said last is used for so long."""
POLL_S = 0.25
ASK_EVERY_S = 3.0
COLD_RETRY_S = 30.0


class _Server:
    """An endpoint and what we know of it."""

    def __init__(self, endpoint: Endpoint, breaker: Breaker) -> None:
        self.endpoint = endpoint
        self.breaker = breaker
        self.outstanding_tokens = 0


class Replicas:
    """Implements ``Client`` for one pool. ``asker`` names this process when it asks for a cold model."""

    def __init__(self, provider: ResolvedProvider, registry: EndpointRegistry, asker: str, wait_s: float) -> None:
        self._provider = provider
        self._pool = provider.settings.pool
        self._registry = registry
        self._asker = asker
        self._wait_s = wait_s
        self._http = Upstream(provider)
        self._servers: dict[str, _Server] = {}
        self._seen_s = float("-inf")
        self._looking: asyncio.Task[None] | None = None
        self._waiting: dict[str, int] = {}
        self._asked_s: dict[str, float] = {}

    async def forward(self, path: str, body: Mapping[str, Any], limits: Limits, left_s: float) -> Answer:
        """Raises ``Saturated`` when no server of the model is ready, after ``wait_s`` of holding the request. A server that
        cannot be reached is passed over at once."""
        began_s = time.monotonic()
        model = str(body["model"])
        await self._look(began_s)
        cost = cost_tokens(body)
        server = self._choice(model, body, cost)
        if server is None:
            server = await self._warm(model, body, cost, min(self._wait_s, left_s))
            left_s -= time.monotonic() - began_s
        tried: set[str] = set()
        while True:
            try:
                return await self._send(server, path, body, cost, limits, left_s)
            except ServerDown:
                tried.add(server.endpoint.id)
                other = self._choice(model, body, cost, tried)
                if other is None:
                    raise
                server = other

    async def close(self) -> None:
        if self._looking is not None:
            await cancel_all(self._looking)
        await self._http.close()

    async def _send(
        self, server: _Server, path: str, body: Mapping[str, Any], cost: int, limits: Limits, left_s: float
    ) -> HttpReply:
        mark = server.breaker.enter(time.monotonic())
        server.outstanding_tokens += cost

        def over(broken: bool) -> None:
            server.outstanding_tokens -= cost
            if broken:
                server.breaker.failed(mark, time.monotonic())
            else:
                server.breaker.left(mark)

        streamed = body.get("stream") is True
        try:
            reply = await self._http.post(server.endpoint.url + path, body, limits, left_s, streamed=streamed)
        except BaseException as error:
            failed = isinstance(error, Unavailable) and not isinstance(error, Saturated)
            over(failed)
            if failed and not isinstance(error, Late):
                raise ServerDown(f"{error} ({server.endpoint.id})") from error
            raise
        if reply.status >= 500:
            server.breaker.failed(mark, time.monotonic())
        else:
            server.breaker.succeeded(mark, time.monotonic())
        reply.on_close = over
        return reply

    def _choice(self, model: str, body: Mapping[str, Any], cost: int, but: Collection[str] = ()) -> _Server | None:
        now_s = time.monotonic()
        usable = [
            server
            for server in self._servers.values()
            if server.endpoint.model == model
            and server.endpoint.ready
            and not server.endpoint.draining
            and server.endpoint.id not in but
            and server.breaker.admits(now_s)
        ]
        replicas = [Replica(id=s.endpoint.id, outstanding_tokens=s.outstanding_tokens) for s in usable]
        chosen = choose(replicas, affinity_of(body) if len(replicas) > 1 else "", cost)
        return None if chosen is None else self._servers[chosen]

    async def _warm(self, model: str, body: Mapping[str, Any], cost: int, wait_s: float) -> _Server:
        """Hold a call until a server is ready; meanwhile the registry says that calls wait."""
        until_s = time.monotonic() + wait_s
        self._waiting[model] = self._waiting.get(model, 0) + 1
        try:
            while True:
                await self._ask_for(model)
                now_s = time.monotonic()
                if now_s >= until_s:
                    raise Saturated(
                        f"no server of {model} is ready in pool {self._pool}; it was asked for",
                        retry_after_s=COLD_RETRY_S,
                    )
                await asyncio.sleep(min(POLL_S, until_s - now_s))
                await self._look(time.monotonic(), POLL_S)
                server = self._choice(model, body, cost)
                if server is not None:
                    return server
        finally:
            self._waiting[model] -= 1
            if not self._waiting[model]:
                del self._waiting[model]

    async def _ask_for(self, model: str) -> None:
        now_s = time.monotonic()
        if now_s - self._asked_s.get(model, float("-inf")) < ASK_EVERY_S:
            return
        self._asked_s[model] = now_s
        try:
            await self._registry.want(model, self._asker, self._waiting[model])
        except SophiaError as error:
            _log.warning("%s cannot be asked for: %s", model, error)

    async def _look(self, now_s: float, fresh_s: float = FRESH_S) -> None:
        """Nobody waits for the registry while it said something lately."""
        age_s = now_s - self._seen_s
        if age_s < fresh_s:
            return
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._refresh(), name="endpoints")
        if age_s >= KNOWN_S or fresh_s < FRESH_S:
            await asyncio.shield(self._looking)

    async def _refresh(self) -> None:
        try:
            endpoints = await self._registry.snapshot()
        except SophiaError as error:
            _log.warning("the endpoint registry does not answer: %s", error)
            if time.monotonic() - self._seen_s >= KNOWN_S:
                self._servers = {}
            return
        self._servers = self._known(endpoints)
        self._seen_s = time.monotonic()

    def _known(self, endpoints: Sequence[Endpoint]) -> dict[str, _Server]:
        servers = {}
        for endpoint in endpoints:
            if endpoint.pool != self._pool:
                continue
            server = self._servers.get(endpoint.id)
            if server is None or server.endpoint.url != endpoint.url:
                server = _Server(endpoint, Breaker(self._provider.settings.breaker))
            server.endpoint = endpoint
            servers[endpoint.id] = server
        return servers
