"""Carries plans out: intents before launches, drains before terminations, failures counted and slowed down."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Mapping, Sequence
from typing import TypeVar

from msgspec.structs import replace

from sophia.decisions import fit
from sophia.decisions.offers import choose_offer
from sophia.nouns.clock import Clock
from sophia.nouns.errors import InsufficientCapacity, SophiaError, Unavailable
from sophia.nouns.pool import Action, Instance, InstanceState, Offer, PoolSpec
from sophia.pools.breakers import Breakers
from sophia.pools.journal import Journal
from sophia.pools.roster import Roster
from sophia.pools.spending import Spending
from sophia.providers.base import LaunchRequest, Machine, Provider
from sophia.queue.base import QueueUpkeep
from sophia.settings.inference import ModelSettings

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_LAUNCHES_PER_PASS = 4
"""Per pool; the rest of a plan is planned again with the next pass."""
MAX_OFFERS_PER_LAUNCH = 4
"""Tried one after the other where there is no capacity; the rest in the next pass."""
LAUNCH_PATIENCE_S = 1.0
"""A launch that its provider's limits would hold back for longer is left to a later pass."""
PROVIDER_TIMEOUT_S = 60.0
DELIVERY_TIMEOUT_S = 10.0


class Actor:
    """Acts for all pools. Every call is bounded in time; what fails is planned again from what is seen next."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        upkeep: QueueUpkeep,
        roster: Roster,
        journal: Journal,
        spending: Spending,
        breakers: Breakers,
        clock: Clock,
        chance: random.Random,
        models: Mapping[str, ModelSettings],
    ) -> None:
        self._providers = providers
        self._upkeep = upkeep
        self._roster = roster
        self._journal = journal
        self._spending = spending
        self._breakers = breakers
        self._clock = clock
        self._chance = chance
        self._models = models
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
                await self.terminate(provider, instance, action.reason)
            elif action.verb == "drain":
                await self.drain(provider, instance, action.reason)
        for action in launches[:MAX_LAUNCHES_PER_PASS]:
            if not await self._launch(provider, pool, spec, action.reason):
                break

    async def launch_one(self, pool: str, spec: PoolSpec, reason: str, *, dry_run: bool) -> tuple[bool, str]:
        """Launch one at once, or say what would be launched; whether that works, and what in words."""
        provider = self._providers[spec.provider]
        paused = self._breakers.paused(pool, spec.provider)
        if paused is not None:
            return False, paused
        if dry_run:
            offer = await self._affordable_offer(provider, pool, spec)
            if offer is None:
                return False, self._breakers.paused(pool, spec.provider) or "nothing is offered"
            return True, f"would launch {offer.instance_type} in {offer.region} at ${offer.price_usd_per_hour:g}/h"
        before = {one.id for one in self._roster.live(pool)}
        if not await self._launch(provider, pool, spec, reason):
            wait_s = provider.launch_wait_s()
            held = f"the provider takes the next launch in {wait_s:.0f} s" if wait_s > LAUNCH_PATIENCE_S else None
            return False, self._breakers.paused(pool, spec.provider) or held or "nothing was launched"
        new = [one for one in self._roster.live(pool) if one.id not in before]
        return True, "launched " + ", ".join(f"{one.id}: {one.reason}" for one in new)

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

    def _put(self, instance: Instance) -> None:
        self._roster.put(instance, self._clock.now_ms())
        self._journal.note(instance)

    async def _launch(self, provider: Provider, pool: str, spec: PoolSpec, reason: str) -> bool:
        """Whether the provider took the order. What has no capacity here may have some elsewhere."""
        for _ in range(MAX_OFFERS_PER_LAUNCH):
            if self._breakers.paused(pool, spec.provider) is not None:
                return False
            if provider.launch_wait_s() > LAUNCH_PATIENCE_S:
                # No trouble: the limit is known, and the next pass is near.
                return False
            try:
                offer = await self._affordable_offer(provider, pool, spec)
                if offer is None:
                    return False
                instance = self._intent(pool, spec, offer, reason)
                await self._journal.record_intent(instance)
            except SophiaError as error:
                if not self._breakers.provider_refused(spec.provider, error):
                    self._breakers.pool_failed(pool, f"cannot launch: {error.message}")
                return False
            self._put(instance)
            request = LaunchRequest(instance_id=instance.id, pool=pool, spec=spec, offer=offer)
            try:
                machine = await _bounded(provider.launch(request), PROVIDER_TIMEOUT_S, f"launching {instance.id}")
            except Unavailable as error:
                # It may run all the same: it stays requested until its provider's lists have had time to show it.
                self._breakers.pool_failed(pool, f"launch failed: {error.message}")
                self._put(replace(instance, reason=f"launch not confirmed: {error.message}"))
                return False
            except SophiaError as error:
                self._refused(pool, spec.provider, instance, offer, error)
                if isinstance(error, InsufficientCapacity):
                    continue
                return False
            self._breakers.provider_took(spec.provider)
            self._breakers.in_stock(spec.provider, offer)
            self._put(
                replace(
                    instance,
                    state=InstanceState.BOOTING,
                    provider_ref=machine.ref,
                    reason=f"{offer.instance_type} in {offer.region} at ${offer.price_usd_per_hour:g}/h: {reason}",
                )
            )
            return True
        return False

    async def _affordable_offer(self, provider: Provider, pool: str, spec: PoolSpec) -> Offer | None:
        """``None``, and a pause, when nothing can be had that its models fit, at the pool's price and within its caps."""
        misfits = {kind: words for kind in spec.instance_types if (words := fit.refusal(self._models, spec, kind))}
        if misfits and len(misfits) == len(set(spec.instance_types)):
            self._breakers.pool_failed(pool, next(iter(misfits.values())))
            return None
        offers = [
            offer
            for offer in await _bounded(provider.offers(spec), PROVIDER_TIMEOUT_S, "asking for offers")
            if offer.instance_type not in misfits
        ]
        offer, words = choose_offer(spec, offers, self._breakers.refused(spec.provider))
        if offer is not None:
            over = self._spending.refuses(
                pool, spec, self._roster.live(pool), offer.price_usd_per_hour, self._clock.now_ms()
            )
            if over is None:
                return offer
            words = over
        self._breakers.pool_failed(pool, words)
        return None

    def _intent(self, pool: str, spec: PoolSpec, offer: Offer, reason: str) -> Instance:
        return Instance(
            id=f"{pool}-{self._chance.getrandbits(40):010x}",
            pool=pool,
            state=InstanceState.REQUESTED,
            instance_type=offer.instance_type,
            region=offer.region,
            price_usd_per_hour=offer.price_usd_per_hour,
            requested_at_ms=self._clock.now_ms(),
            slots=spec.slots,
            reason=reason,
        )

    def _refused(self, pool: str, provider: str, instance: Instance, offer: Offer, error: SophiaError) -> None:
        """A launch that certainly started nothing: its intent is over."""
        if isinstance(error, InsufficientCapacity):
            log.info("no %s in %s for pool %s", offer.instance_type, offer.region, pool)
            self._breakers.sold_out(provider, offer)
        elif not self._breakers.provider_refused(provider, error):
            self._breakers.pool_failed(pool, f"launch refused: {error.message}")
        words = f"not launched, {offer.instance_type} in {offer.region}: {error.message}"
        self._put(replace(instance, state=InstanceState.TERMINATED, reason=words))
        self._roster.drop(instance.id)

    async def drain(self, provider: Provider, instance: Instance, reason: str) -> None:
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

    async def terminate(self, provider: Provider, instance: Instance, reason: str) -> None:
        if instance.state in (InstanceState.REQUESTED, InstanceState.BOOTING):
            self._breakers.pool_failed(instance.pool, reason)
        now_ms = self._clock.now_ms()
        if not instance.provider_ref:
            # Nothing to name to the provider. Should its machine turn up after all, it is adopted by its name.
            self._put(replace(instance, state=InstanceState.TERMINATED, reason=reason))
            return
        since = instance.draining_since_ms or now_ms
        ending = replace(
            instance, state=InstanceState.DRAINING, draining_since_ms=since, reason=f"terminated: {reason}"
        )
        self._put(ending)
        try:
            await _bounded(provider.terminate(instance.provider_ref), PROVIDER_TIMEOUT_S, f"terminating {instance.id}")
        except SophiaError as error:
            log.warning("terminating %s: %s", instance.id, error)
            return
        if ending.billed_from_ms is not None and ending.billed_to_ms is None:
            self._put(replace(ending, billed_to_ms=self._clock.now_ms()))


async def _bounded(call: Awaitable[T], limit_s: float, what: str) -> T:
    try:
        async with asyncio.timeout(limit_s):
            return await call
    except TimeoutError as error:
        raise Unavailable(f"{what} was not answered within {limit_s:g} s") from error
