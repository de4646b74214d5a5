"""Ends machines that nobody wants. It needs nothing but the providers' lists and the ledger of intents."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from sophia.nouns.clock import Clock
from sophia.nouns.errors import SophiaError
from sophia.nouns.pool import Instance, InstanceState, PoolSpec
from sophia.providers.base import Machine, Provider
from sophia.store.base import Ledger

log = logging.getLogger(__name__)

LOOK_TIMEOUT_S = 120.0


class Unwanted(msgspec.Struct, frozen=True, kw_only=True):
    """A machine, and why nobody wants it."""

    provider: str
    machine: Machine
    reason: str


def unwanted(
    provider: str, machines: Iterable[Machine], intents: Mapping[str, Instance], pools: Mapping[str, PoolSpec]
) -> list[Unwanted]:
    """Machines of a list that no live intent of an existing pool stands for. What is ending already is left alone."""
    found = []
    for machine in machines:
        reason = _why(provider, machine, intents.get(machine.name), pools)
        if reason is not None and machine.state != "stopping":
            found.append(Unwanted(provider=provider, machine=machine, reason=reason))
    return found


def _why(provider: str, machine: Machine, intent: Instance | None, pools: Mapping[str, PoolSpec]) -> str | None:
    pool = pools.get(machine.pool)
    if pool is None:
        return f"there is no pool {machine.pool!r}"
    if pool.provider != provider:
        return f"the pool {machine.pool!r} is of provider {pool.provider}"
    if intent is None:
        return "no intent to launch it is on record"
    if intent.state is InstanceState.TERMINATED:
        return "it is on record as terminated"
    if intent.provider_ref and intent.provider_ref != machine.ref:
        return f"its intent stands for {intent.provider_ref}"
    return None


class Reaper:
    """Stands by, whatever the pool manager does. A machine must be unwanted in two looks, half of ``every_s`` apart:
    the manager takes over what it finds without a record, and puts it on record meanwhile."""

    def __init__(
        self,
        pools: Mapping[str, PoolSpec],
        providers: Mapping[str, Provider],
        ledger: Ledger,
        clock: Clock,
        every_s: float,
    ) -> None:
        self._pools = pools
        self._providers = providers
        self._ledger = ledger
        self._clock = clock
        self._pause_s = every_s / 2
        self._since_s: dict[tuple[str, str], float] = {}

    async def run(self) -> None:
        """Reap until cancelled."""
        while True:
            try:
                async with asyncio.timeout(LOOK_TIMEOUT_S):
                    await self.pass_once()
            except (SophiaError, TimeoutError) as error:
                log.warning("the reaper could not look: %s", error or "no answer in time")
            await asyncio.sleep(self._pause_s)

    async def pass_once(self) -> list[Unwanted]:
        """Look, and end what was unwanted in the last look already; these."""
        found = await self.look()
        now_s = self._clock.monotonic_s()
        known = self._since_s
        self._since_s = {
            (one.provider, one.machine.ref): known.get((one.provider, one.machine.ref), now_s) for one in found
        }
        due = [one for one in found if now_s - self._since_s[one.provider, one.machine.ref] >= 0.9 * self._pause_s]
        return await self.end(due)

    async def look(self) -> list[Unwanted]:
        """What is unwanted now, of the providers that answer. Raises ``Unavailable`` without the ledger."""
        listed = {}
        for name, provider in self._providers.items():
            try:
                listed[name] = await provider.machines()
            except SophiaError as error:
                log.warning("the reaper does not see the machines of %s: %s", name, error)
        # Read after the lists: an intent is on record before its machine can be listed.
        intents = {one.id: one for one in await self._ledger.instances(live_only=False)} if any(listed.values()) else {}
        return [one for name, machines in listed.items() for one in unwanted(name, machines, intents, self._pools)]

    async def end(self, chosen: Sequence[Unwanted]) -> list[Unwanted]:
        """Terminate them; those for which it worked."""
        ended = []
        for one in chosen:
            log.warning("reaping %s of %s: %s", one.machine.name or one.machine.ref, one.provider, one.reason)
            try:
                await self._providers[one.provider].terminate(one.machine.ref)
                ended.append(one)
            except SophiaError as error:
                log.warning("reaping %s: %s", one.machine.name or one.machine.ref, error)
        return ended
