"""Implements ``CallGate``: concurrent calls share a round trip, and what ended is counted behind the answers' backs."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections import deque
from collections.abc import Sequence
from typing import Any

from sophia.access.base import Ask, Entry, Grant, Hit, UnderWay
from sophia.access.redis.scripts import BEAT_S, LEASE_S, partition_prefixes, prefix_of, script
from sophia.access.redis.words import Settlement, pack_ask, pack_settlement, rates_of, refusal
from sophia.cancel import cancel_all
from sophia.nouns.clock import Clock
from sophia.nouns.errors import SophiaError, Unavailable
from sophia.nouns.usage import Usage
from sophia.queue.budgets import day_of
from sophia.redis.base import Redis
from sophia.redis.connection import translated

log = logging.getLogger(__name__)

MAX_BATCH = 128
RETRY_AFTER_S = 2.0
STAMP = 13
"""Characters of the time that a cached answer begins with."""
_BACKOFF_MAX_S = 1.0
CACHE_BYTES = 64 * 1024 * 1024
_DAY_MS = 86_400_000


Opened = Grant | Hit | UnderWay


class _Opening:
    """A call that waits for its verdict."""

    __slots__ = ("ask", "day", "future", "id")

    def __init__(self, call_id: str, ask: Ask, day: str, future: asyncio.Future[Opened]) -> None:
        self.id, self.ask, self.day, self.future = call_id, ask, day, future


class RedisCallGate:
    """Owns no connection. ``close`` waits a little for what is still to be settled; what is not by then is settled by
    upkeep, with what was known of it."""

    def __init__(self, client: Redis, partitions: int, clock: Clock, *, cache_bytes: int = CACHE_BYTES) -> None:
        self._clock = clock
        self._cache_bytes = cache_bytes // partitions
        self._store = script(client, "store")
        self._prefixes = partition_prefixes(partitions)
        self._open, self._settle, self._beat = (script(client, name) for name in ("open", "settle", "beat"))
        # Unlike any other gateway's, and unlike this one's before a restart.
        self._name = secrets.token_hex(8)
        self._count = 0
        self._today = (0, "")
        self._opening: dict[str, deque[_Opening]] = {prefix: deque() for prefix in self._prefixes}
        self._ended: dict[str, deque[Settlement]] = {prefix: deque() for prefix in self._prefixes}
        self._pumps: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._live: dict[str, dict[str, Usage]] = {prefix: {} for prefix in self._prefixes}
        self._beating: asyncio.Task[None] | None = None
        self._all_settled = asyncio.Event()
        self._all_settled.set()
        self._unsettled = 0

    async def open(self, ask: Ask) -> Opened:
        prefix = prefix_of(ask.tenant, self._prefixes)
        self._count += 1
        future: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
        opening = _Opening(f"{self._name}{self._count:x}", ask, self._day(), future)
        self._opening[prefix].append(opening)
        self._pump("open", prefix)
        try:
            return await future
        except asyncio.CancelledError:
            # The verdict may have come in the same turn of the loop, and nobody else knows of it.
            decided = future.done() and not future.cancelled() and future.exception() is None
            if decided and isinstance(future.result(), Grant):
                self._take_back(opening)
            raise

    def progress(self, grant: Grant, usage: Usage) -> None:
        live = self._live[prefix_of(grant.ask.tenant, self._prefixes)]
        if grant.id in live:
            live[grant.id] = usage

    def settle(
        self,
        grant: Grant,
        usage: Usage,
        *,
        provider: str | None = None,
        entries: Sequence[Entry] = (),
        saved_nano_usd: int = 0,
    ) -> None:
        cache = grant.ask.cache
        self._put(
            Settlement(
                grant.id,
                grant.ask,
                grant.epoch,
                grant.day,
                grant.nano_usd,
                grant.tokens,
                usage,
                provider or grant.ask.provider,
                saved_nano_usd=saved_nano_usd,
                flight=cache.flight if cache and cache.lead_s else "",
                entries=tuple(entries),
            )
        )

    def count_hit(self, hit: Hit, saved_nano_usd: int) -> None:
        self._count += 1
        self._put(
            Settlement(
                f"{self._name}{self._count:x}",
                hit.ask,
                "",
                self._day(),
                0,
                0,
                Usage(),
                "cache",
                cached=1,
                saved_nano_usd=saved_nano_usd,
            )
        )

    async def settled(self, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                await self._all_settled.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        if not await self.settled(5.0):
            log.error("calls are left to be settled by upkeep", extra={"calls": self._unsettled})
        tasks = [*self._pumps.values(), *([self._beating] if self._beating else [])]
        await cancel_all(*tasks)

    def _put(self, ended: Settlement) -> None:
        prefix = prefix_of(ended.ask.tenant, self._prefixes)
        self._live[prefix].pop(ended.id, None)
        self._ended[prefix].append(ended)
        self._unsettled += 1
        self._all_settled.clear()
        self._pump("settle", prefix)

    def _pump(self, what: str, prefix: str) -> None:
        running = self._pumps.get((what, prefix))
        if running is None or running.done():
            work = self._open_all(prefix) if what == "open" else self._settle_all(prefix)
            self._pumps[what, prefix] = asyncio.create_task(work, name=f"gate-{what}")

    async def _open_all(self, prefix: str) -> None:
        waiting = self._opening[prefix]
        while waiting:
            # Whoever is ready to run in this turn of the loop comes along.
            await asyncio.sleep(0)
            batch = [waiting.popleft() for _ in range(min(len(waiting), MAX_BATCH))]
            batch = [one for one in batch if not one.future.done()]
            if not batch:
                continue
            try:
                async with translated():
                    words = [pack_ask(one.id, one.ask, one.day) for one in batch]
                    epoch, answers = await self._open(prefix, (self._name, round(LEASE_S * 1000), *words))
            except BaseException as error:
                self._fail(batch, error)
                if not isinstance(error, Exception):
                    raise
                continue
            for one, answer in zip(batch, answers, strict=True):
                self._answer(prefix, one, epoch.decode(), answer)

    def _fail(self, batch: Sequence[_Opening], error: BaseException) -> None:
        """Whether it was admitted is not known: should it have been, that is taken back."""
        message = error.message if isinstance(error, SophiaError) else type(error).__name__
        for one in batch:
            if not one.future.done():
                fault = Unavailable(f"calls cannot be admitted at the moment: {message}", retry_after_s=RETRY_AFTER_S)
                one.future.set_exception(fault)
            self._take_back(one)

    def _answer(self, prefix: str, one: _Opening, epoch: str, answer: list[Any]) -> None:
        verdict, *details = answer
        word = verdict.decode()
        if word in ("hit", "wait"):
            if not one.future.done():
                one.future.set_result(_cached(one.ask, word, details))
            return
        if word != "ok":
            if not one.future.done():
                one.future.set_exception(refusal(one.ask, word, details, self._clock.now_ms()))
            return
        if one.future.done():
            self._take_back(one)
            return
        grant = Grant(
            id=one.id,
            ask=one.ask,
            day=one.day,
            epoch=epoch,
            nano_usd=int(details[4]),
            tokens=int(details[5]),
            rates=rates_of(one.ask, details)
            if one.ask.limits.requests_per_minute or one.ask.limits.tokens_per_minute
            else (),
            cached=tuple(value and value[STAMP:] for value in details[6:]),
        )
        self._live[prefix][one.id] = Usage()
        if self._beating is None or self._beating.done():
            self._beating = asyncio.create_task(self._beat_while_busy(), name="gate-beat")
        one.future.set_result(grant)

    def _take_back(self, one: _Opening) -> None:
        ask = one.ask
        flight = ask.cache.flight if ask.cache and ask.cache.lead_s else ""
        self._put(
            Settlement(
                one.id, ask, "-", one.day, ask.nano_usd, ask.tokens, Usage(), ask.provider, requests=0, flight=flight
            )
        )

    async def _settle_all(self, prefix: str) -> None:
        waiting = self._ended[prefix]
        pause_s = 0.05
        await asyncio.sleep(0)
        while waiting:
            batch = [waiting[n] for n in range(min(len(waiting), MAX_BATCH))]
            await self._keep(prefix, batch)
            try:
                async with translated():
                    await self._settle(prefix, (self._name, *(pack_settlement(one) for one in batch)))
            except SophiaError as error:
                if pause_s >= _BACKOFF_MAX_S:
                    log.warning("%d calls wait to be settled: %s", self._unsettled, error.message)
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                pause_s = min(pause_s * 2, _BACKOFF_MAX_S)
                continue
            pause_s = 0.05
            for _ in batch:
                waiting.popleft()
            self._unsettled -= len(batch)
            if not self._unsettled:
                self._all_settled.set()

    async def _keep(self, prefix: str, batch: Sequence[Settlement]) -> None:
        words = [
            word
            for one in batch
            for entry in one.entries
            for word in (entry.key, round(entry.ttl_s * 1000), entry.value)
        ]
        if not words:
            return
        try:
            async with translated():
                await self._store(prefix, (self._cache_bytes, *words))
        except SophiaError as error:
            log.warning("answers are not kept: %s", error.message)

    async def beat(self) -> None:
        """Say that this gateway lives and how far its long calls have come; done every ``BEAT_S`` by itself."""
        for prefix, live in self._live.items():
            if not live:
                continue
            come_far = [
                word
                for call_id, usage in live.items()
                if usage.output_tokens
                for word in (call_id, usage.output_tokens, usage.cost_nano_usd)
            ]
            async with translated():
                await self._beat(prefix, (self._name, round(LEASE_S * 1000), *come_far))

    async def _beat_while_busy(self) -> None:
        """An idle gateway sends nothing."""
        while True:
            await asyncio.sleep(BEAT_S)
            if not any(self._live.values()):
                return
            try:
                await self.beat()
            except SophiaError as error:
                log.warning("the gate does not hear this gateway: %s", error.message)

    def _day(self) -> str:
        now_ms = self._clock.now_ms()
        number = now_ms // _DAY_MS
        if self._today[0] != number:
            self._today = (number, day_of(now_ms))
        return self._today[1]


def _cached(ask: Ask, word: str, details: list[Any]) -> Hit | UnderWay:
    if word == "wait":
        return UnderWay(max(0, details[0]) / 1000)
    return Hit(ask=ask, cached=tuple(value[STAMP:] for value in details[6:]), rates=rates_of(ask, details))
