"""A gate without Redis, for the queue on JetStream."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Sequence

from sophia.access.base import Ask, CallBatch, CallLedger, CallRow, Entry, Grant, Hit, OverRate, Rate
from sophia.cancel import cancel_all
from sophia.nouns.clock import Clock
from sophia.nouns.errors import SophiaError, Unavailable
from sophia.nouns.usage import Usage
from sophia.queue.budgets import day_of

log = logging.getLogger(__name__)

FLUSH_S = 2.0
_Labels = tuple[str, str, str, str, str]


class LedgerCallGate:
    """Counts calls in this process and hands the sums to the ledger every ``FLUSH_S`` seconds, which is what a kill can
    lose. Rates of keys hold for each gateway by itself. Budgets it cannot hold: calls under one are refused."""

    def __init__(self, ledger: CallLedger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._arrivals: dict[tuple[str, str], float] = {}
        self._sums: dict[_Labels, Counter[str]] = {}
        self._batch: CallBatch | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._flushed = asyncio.Event()
        self._flushed.set()

    async def open(self, ask: Ask) -> Grant:
        if ask.capped:
            raise Unavailable(
                f"budgets of tenant {ask.tenant!r} and its keys cannot be held to in model calls while queue.engine is "
                "jetstream",
                mend="queue.engine: redis, or a tenant and key without budgets",
            )
        self._forget_old()
        limits = ask.limits
        rates = [
            rate
            for kind, limit, burst, cost in (
                ("requests", limits.requests_per_minute, limits.burst, 1),
                ("tokens", limits.tokens_per_minute, limits.token_burst, ask.tokens),
            )
            if limit is not None and (rate := self._rate(ask.key, kind, limit, burst or limit, cost))
        ]
        for kind, limit, cost in (
            ("requests", limits.requests_per_minute, 1),
            ("tokens", limits.tokens_per_minute, ask.tokens),
        ):
            if limit is not None:
                self._take(ask.key, kind, limit, cost)
        return Grant(
            id=secrets.token_hex(8),
            ask=ask,
            day=day_of(self._clock.now_ms()),
            epoch="",
            nano_usd=ask.nano_usd,
            tokens=ask.tokens,
            rates=tuple(rates),
        )

    def progress(self, grant: Grant, usage: Usage) -> None:
        """Nothing would survive this process."""

    def count_hit(self, hit: Hit, saved_nano_usd: int) -> None:
        """There is no cache here."""

    def settle(
        self,
        grant: Grant,
        usage: Usage,
        *,
        provider: str | None = None,
        entries: Sequence[Entry] = (),
        saved_nano_usd: int = 0,
    ) -> None:
        ask = grant.ask
        if ask.limits.tokens_per_minute is not None:
            self._take(ask.key, "tokens", ask.limits.tokens_per_minute, usage.total_tokens - grant.tokens)
        labels = (grant.day, ask.tenant, ask.key, ask.model, provider or ask.provider)
        self._sums.setdefault(labels, Counter()).update(
            requests=1,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            embedding_tokens=usage.embedding_tokens,
            cost_nano_usd=usage.cost_nano_usd,
        )
        self._flushed.clear()
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush_all(), name="gate-flush")

    async def settled(self, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                await self._flushed.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        if not await self.settled(FLUSH_S + 5.0):
            log.error("usage of calls is lost: the ledger does not take it up")
        if self._flushing is not None:
            await cancel_all(self._flushing)

    def _rate(self, key: str, kind: str, limit: int, burst: int, cost: int) -> Rate:
        """Where the key will stand after the call. Raises ``OverRate``."""
        now_s, each_s = self._clock.monotonic_s(), 60.0 / limit
        before_s = max(now_s, self._arrivals.get((key, kind), 0.0))
        over_s = before_s + cost * each_s - now_s - burst * each_s
        if over_s > 1e-6:
            left = Rate(
                kind=kind,
                limit=limit,
                remaining=max(0, int(burst - (before_s - now_s) / each_s)),
                full_in_s=before_s - now_s,
            )
            raise OverRate(
                f"the key's limit of {limit:,} {kind} a minute is reached",
                rate=left,
                field=f"{kind}_per_minute",
                mend="a smaller max_tokens or prompt" if cost > burst else f"try again in {over_s:.1f} s",
                retry_after_s=None if cost > burst else over_s,
            )
        full_s = before_s + cost * each_s - now_s
        return Rate(kind=kind, limit=limit, remaining=int(burst - full_s / each_s + 1e-6), full_in_s=full_s)

    def _take(self, key: str, kind: str, limit: int, cost: int) -> None:
        now_s = self._clock.monotonic_s()
        before_s = max(now_s, self._arrivals.get((key, kind), 0.0))
        self._arrivals[key, kind] = max(now_s, before_s + cost * 60.0 / limit)

    def _forget_old(self) -> None:
        if len(self._arrivals) > 10_000:
            now_s = self._clock.monotonic_s()
            self._arrivals = {name: at_s for name, at_s in self._arrivals.items() if at_s > now_s}

    async def _flush_all(self) -> None:
        while self._sums or self._batch is not None:
            await asyncio.sleep(FLUSH_S)
            if self._batch is None:
                sums, self._sums = self._sums, {}
                names = ("day", "tenant", "key", "model", "provider")
                rows = [CallRow(**dict(zip(names, labels, strict=True)), **counts) for labels, counts in sums.items()]  # type: ignore[arg-type]
                self._batch = CallBatch(id=secrets.token_hex(16), rows=rows)
            try:
                await self._ledger.record_calls(self._batch, self._clock.now_ms())
                self._batch = None
            except SophiaError as error:
                log.warning("usage of calls waits for the ledger: %s", error.message)
        self._flushed.set()
