"""What is not tried for now, and why: pools that fail, providers that refuse everybody, machines that are sold out."""

from __future__ import annotations

import logging
import random

import msgspec

from sophia.decisions.retry import backoff_s
from sophia.nouns.clock import Clock
from sophia.nouns.errors import Forbidden, QuotaExceeded, RateLimited, SophiaError, Unauthorized
from sophia.nouns.pool import Offer
from sophia.settings.model import RetrySettings

log = logging.getLogger(__name__)

POOL_BACKOFF = RetrySettings(max_attempts=1, base_s=2.0, max_s=120.0)
SOLD_OUT_BACKOFF = RetrySettings(max_attempts=1, base_s=30.0, max_s=600.0)
"""Capacity comes back in minutes; a launch slot spent on asking for it is lost to the next type."""
ACCOUNT_BACKOFF = RetrySettings(max_attempts=1, base_s=60.0, max_s=1800.0)
"""A key or a quota is mended by people."""


class Trouble(msgspec.Struct, kw_only=True):
    failures: int = 0
    not_before_s: float = 0.0
    reason: str = ""


class Breakers:
    """Each failure lengthens its pause; one success ends it. When a pause is over, one try decides about the next."""

    def __init__(self, clock: Clock, chance: random.Random) -> None:
        self._clock = clock
        self._chance = chance
        self._pools: dict[str, Trouble] = {}
        self._providers: dict[str, Trouble] = {}
        self._offers: dict[tuple[str, str, str], Trouble] = {}

    def pool_failed(self, pool: str, reason: str) -> None:
        """A launch or a boot came to nothing."""
        trouble = self._worsen(self._pools.setdefault(pool, Trouble()), POOL_BACKOFF, reason)
        log.warning(
            "pool %s: %s; launches pause for %.1f s",
            pool,
            reason,
            trouble.not_before_s - self._clock.monotonic_s(),
            extra={"failures": trouble.failures},
        )

    def pool_succeeded(self, pool: str) -> None:
        self._pools.pop(pool, None)

    def sold_out(self, provider: str, offer: Offer) -> None:
        key = (provider, offer.instance_type, offer.region)
        self._worsen(self._offers.setdefault(key, Trouble()), SOLD_OUT_BACKOFF, "no capacity")

    def in_stock(self, provider: str, offer: Offer) -> None:
        self._offers.pop((provider, offer.instance_type, offer.region), None)

    def refused(self, provider: str) -> frozenset[tuple[str, str]]:
        """Types and regions that are not asked for again yet."""
        now_s = self._clock.monotonic_s()
        return frozenset(
            (instance_type, region)
            for (name, instance_type, region), trouble in self._offers.items()
            if name == provider and now_s < trouble.not_before_s
        )

    def provider_refused(self, provider: str, error: SophiaError) -> bool:
        """Whether an error speaks for every pool of a provider; then none of them launches for a while."""
        if isinstance(error, RateLimited):
            trouble = self._providers.setdefault(provider, Trouble())
            trouble.not_before_s = self._clock.monotonic_s() + (error.retry_after_s or 12.0)
            trouble.reason = error.message
            return True
        if not isinstance(error, Unauthorized | Forbidden | QuotaExceeded):
            return False
        self._worsen(self._providers.setdefault(provider, Trouble()), ACCOUNT_BACKOFF, error.message)
        log.error("provider %s: %s%s", provider, error.message, f" ({error.mend})" if error.mend else "")
        return True

    def provider_took(self, provider: str) -> None:
        self._providers.pop(provider, None)

    def paused(self, pool: str, provider: str) -> str | None:
        """Why nothing is launched at the moment, in words; ``None`` when launches may be tried."""
        for trouble, whose in ((self._pools.get(pool), ""), (self._providers.get(provider), f"{provider}: ")):
            if trouble is not None and self._clock.monotonic_s() < trouble.not_before_s:
                times = {0: "", 1: ", failed once"}.get(trouble.failures, f", failed {trouble.failures} times in a row")
                return f"launches pause{times}: {whose}{trouble.reason}"
        return None

    def _worsen(self, trouble: Trouble, backoff: RetrySettings, reason: str) -> Trouble:
        trouble.failures += 1
        pause_s = backoff_s(trouble.failures, backoff, self._chance.uniform(0.5, 1.0))
        trouble.not_before_s = self._clock.monotonic_s() + pause_s
        trouble.reason = reason
        return trouble
