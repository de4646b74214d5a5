"""Real worker processes as the machines of an emulated cloud."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from sophia.emulated.cloud import EmulatedMachine, Fleet
from sophia.nouns.errors import SophiaError
from sophia.nouns.pool import Offer, PoolSpec
from sophia.providers.base import LaunchRequest, Provider

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.2

Placement = Callable[[EmulatedMachine], tuple[str, str] | None]
"""Pool and instance id of a machine, as its set-up document would tell it; ``None``: it is nobody's worker."""


class WorkerMachines:
    """Keeps one worker process per active machine of ``fleet``: started when it becomes active, killed when it ends."""

    def __init__(self, fleet: Fleet, processes: Provider, pools: dict[str, PoolSpec], placement: Placement) -> None:
        self._fleet = fleet
        self._processes = processes
        self._pools = pools
        self._placement = placement
        self._started: set[str] = set()

    async def run(self) -> None:
        """Look after the processes until cancelled."""
        while True:
            try:
                await self.look()
            except SophiaError as error:
                log.warning("emulated machines: %s", error)
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Start what became active, end what is no longer so. A worker that ends by itself stays gone, as on a host
        whose service has given up."""
        for machine in list(self._fleet.machines.values()):
            placed = self._placement(machine)
            if placed is None or placed[0] not in self._pools:
                continue
            pool, instance_id = placed
            active = self._fleet.status(machine) in ("active", "unhealthy")
            if active and machine.id not in self._started:
                await self._processes.launch(_request(pool, instance_id, self._pools[pool], machine))
                self._started.add(machine.id)
            elif not active and machine.id in self._started:
                await self._processes.terminate(instance_id)
                self._started.discard(machine.id)


def _request(pool: str, instance_id: str, spec: PoolSpec, machine: EmulatedMachine) -> LaunchRequest:
    offer = Offer(
        instance_type=machine.instance_type,
        region=machine.region,
        price_usd_per_hour=machine.cents_per_hour / 100,
        available=True,
    )
    return LaunchRequest(instance_id=instance_id, pool=pool, spec=spec, offer=offer)
