"""Carries plans out: intents before launches, drains before terminations, failures counted and slowed down."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Awaitable, Mapping, Sequence
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from sophia.decisions.offers import choose_offer
from sophia.decisions.retry import backoff_s
from sophia.nouns.clock import Clock
from sophia.nouns.errors import SophiaError, Unavailable
from sophia.nouns.pool import Action, Instance, InstanceState, PoolSpec
from sophia.pools.journal import Journal
from sophia.pools.roster import Roster
from sophia.providers.base import LaunchRequest, Machine, Provider
from sophia.queue.base import QueueUpkeep
from sophia.settings.model import RetrySettings

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_LAUNCHES_PER_PASS = 4
"""Per pool; the rest of a plan is planned again with the next pass."""
PROVIDER_TIMEOUT_S = 60.0
DELIVERY_TIMEOUT_S = 10.0
LAUNCH_BACKOFF = RetrySettings(max_attempts=1, base_s=2.0, max_s=120.0)


class Trouble(msgspec.Struct, kw_only=True):
    """Why a pool launches nothing for now."""

    failures: int = 0
    not_before_s: float = 0.0
    reason: str = ""


class Actor:
    """Acts for all pools. Every call is bounded in time; what fails is planned again from what is seen next."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        upkeep: QueueUpkeep,
        roster: Roster,
        journal: Journal,
        clock: Clock,
    ) -> None:
        self._providers = providers
        self._upkeep = upkeep
        self._roster = roster
        self._journal = journal
        self._clock = clock
        self._troubles: dict[str, Trouble] = {}
        self._undelivered: dict[str, str] = {}
        """Instances that were not reached by their order to drain, with their provider."""

    async def carry_out(self, pool: str, spec: PoolSpec, actions: Sequence[Action]) -> None:
        provider = self._providers[spec.provider]
        launches = [action for action in actions if action.verb == "launch"]
        for action in actions:
            instance = self._roster.get(action.instance_id)
            if instance is None:
                continue
            if action.verb == "terminate":
                await self._terminate(provider, instance, action.reason)
            elif action.verb == "drain":
                await self._drain(provider, instance, action.reason)
        for action in launches[:MAX_LAUNCHES_PER_PASS]:
            if self.paused(pool) is not None or not await self._launch(provider, pool, spec, action.reason):
                break

    async def end_stray(self, provider: Provider, machine: Machine) -> None:
        log.warning("terminating %s of %s: no pool %r wants it", machine.name, provider.name, machine.pool)
        try:
            await _bounded(provider.terminate(machine.ref), PROVIDER_TIMEOUT_S, f"terminating {machine.name}")
        except SophiaError as error:
            log.warning("stray machine %s: %s", machine.name, error)

    async def deliver_again(self) -> None:
        """Repeat orders to drain that reached nobody."""
        for instance_id, provider in list(self._undelivered.items()):
            instance = self._roster.get(instance_id)
            if instance is None or instance.state is not InstanceState.DRAINING:
                del self._undelivered[instance_id]
            else:
                await self._deliver(self._providers[provider], instance)

    def failed(self, pool: str, reason: str) -> None:
        """Count a launch or boot that came to nothing; the next one waits longer each time."""
        trouble = self._troubles.setdefault(pool, Trouble())
        trouble.failures += 1
        pause_s = backoff_s(trouble.failures, LAUNCH_BACKOFF, random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        trouble.not_before_s = self._clock.monotonic_s() + pause_s
        trouble.reason = reason
        log.warning(
            "pool %s: %s; launches pause for %.1f s", pool, reason, pause_s, extra={"failures": trouble.failures}
        )

    def succeeded(self, pool: str) -> None:
        self._troubles.pop(pool, None)

    def paused(self, pool: str) -> str | None:
        """Why nothing is launched at the moment, in words; ``None`` when launches may be tried."""
        trouble = self._troubles.get(pool)
        if trouble is None or self._clock.monotonic_s() >= trouble.not_before_s:
            return None
        times = "once" if trouble.failures == 1 else f"{trouble.failures} times in a row"
        return f"launches pause, failed {times}: {trouble.reason}"

    def _put(self, instance: Instance) -> None:
        self._roster.put(instance, self._clock.now_ms())
        self._journal.note(instance)

    async def _launch(self, provider: Provider, pool: str, spec: PoolSpec, reason: str) -> bool:
        """Whether the provider took the order. An unanswered launch stays requested: its listing will tell."""
        try:
            offers = await _bounded(provider.offers(spec), PROVIDER_TIMEOUT_S, "asking for offers")
            offer, words = choose_offer(spec, offers)
            if offer is None:
                self.failed(pool, words)
                return False
            instance = Instance(
                id=f"{pool}-{secrets.token_hex(5)}",
                pool=pool,
                state=InstanceState.REQUESTED,
                instance_type=offer.instance_type,
                region=offer.region,
                price_usd_per_hour=offer.price_usd_per_hour,
                requested_at_ms=self._clock.now_ms(),
                slots=spec.slots,
                reason=reason,
            )
            await self._journal.record_intent(instance)
        except SophiaError as error:
            self.failed(pool, f"cannot launch: {error.message}")
            return False
        self._put(instance)
        request = LaunchRequest(instance_id=instance.id, pool=pool, spec=spec, offer=offer)
        try:
            machine = await _bounded(provider.launch(request), PROVIDER_TIMEOUT_S, f"launching {instance.id}")
        except SophiaError as error:
            self.failed(pool, f"launch failed: {error.message}")
            self._put(replace(instance, reason=f"launch not confirmed: {error.message}"))
            return False
        self._put(replace(instance, state=InstanceState.BOOTING, provider_ref=machine.ref))
        return True

    async def _drain(self, provider: Provider, instance: Instance, reason: str) -> None:
        now_ms = self._clock.now_ms()
        draining = replace(instance, state=InstanceState.DRAINING, draining_since_ms=now_ms, reason=reason)
        self._put(draining)
        await self._deliver(provider, draining)

    async def _deliver(self, provider: Provider, instance: Instance) -> None:
        """By the queue and by the provider; either is enough."""
        self._undelivered[instance.id] = provider.name
        for way, order in (
            ("queue", self._upkeep.request_stop(instance.id)),
            ("provider", provider.drain(instance.provider_ref)),
        ):
            try:
                await _bounded(order, DELIVERY_TIMEOUT_S, f"draining {instance.id}")
                self._undelivered.pop(instance.id, None)
            except SophiaError as error:
                log.warning("order to drain %s by its %s: %s", instance.id, way, error)

    async def _terminate(self, provider: Provider, instance: Instance, reason: str) -> None:
        if instance.state in (InstanceState.REQUESTED, InstanceState.BOOTING):
            self.failed(instance.pool, reason)
        now_ms = self._clock.now_ms()
        if not instance.provider_ref:
            # Nothing to name to the provider. Should its machine turn up after all, it is adopted by its name.
            self._put(replace(instance, state=InstanceState.TERMINATED, reason=reason))
            return
        since = instance.draining_since_ms or now_ms
        self._put(
            replace(instance, state=InstanceState.DRAINING, draining_since_ms=since, reason=f"terminated: {reason}")
        )
        try:
            await _bounded(provider.terminate(instance.provider_ref), PROVIDER_TIMEOUT_S, f"terminating {instance.id}")
        except SophiaError as error:
            log.warning("terminating %s: %s", instance.id, error)


async def _bounded(call: Awaitable[T], limit_s: float, what: str) -> T:
    try:
        async with asyncio.timeout(limit_s):
            return await call
    except TimeoutError as error:
        raise Unavailable(f"{what} was not answered within {limit_s:g} s") from error
