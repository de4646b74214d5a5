"""Real worker processes inside the machines of an emulated Fly account."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from sophia.emulated.fly_machines import FlyFleet, FlyMachine
from sophia.nouns.errors import SophiaError
from sophia.nouns.pool import Offer, PoolSpec
from sophia.providers.base import LaunchRequest, Provider

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.1


class FlyWorkers:
    """Keeps one process in every started machine of a pool: told to stop when its machine is, and gone with it; a
    machine whose process has ended has stopped."""

    def __init__(self, fleet: FlyFleet, processes: Provider, pools: Mapping[str, PoolSpec]) -> None:
        self._fleet = fleet
        self._processes = processes
        self._pools = pools
        self._inside: dict[str, str] = {}
        """Instance ids of running processes by machine."""
        self._told: set[str] = set()

    async def run(self) -> None:
        """Look after the processes until cancelled."""
        while True:
            try:
                await self.look()
            except SophiaError as error:
                log.warning("emulated machines: %s", error)
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        self._fleet.advance()
        alive = {process.name for process in await self._processes.machines()}
        for machine in list(self._fleet.machines.values()):
            if machine.id in self._inside:
                await self._tend(machine, self._inside[machine.id], alive)
            elif machine.state == "started":
                await self._boot(machine)

    async def _boot(self, machine: FlyMachine) -> None:
        pool = machine.metadata.get("sophia_pool", "")
        spec = self._pools.get(pool)
        instance = machine.metadata.get("sophia_instance", "")
        if spec is None or not instance:
            return
        offer = Offer(instance_type=machine.size.name, region=machine.region, price_usd_per_hour=0.0, available=True)
        await self._processes.launch(LaunchRequest(instance_id=instance, pool=pool, spec=spec, offer=offer))
        self._inside[machine.id] = instance
        machine.attended = True

    async def _tend(self, machine: FlyMachine, instance: str, alive: set[str]) -> None:
        if machine.state in ("started", "stopping") and instance not in alive:
            self._fleet.exited(machine)
        elif machine.state == "stopping" and machine.signal != "SIGKILL" and instance not in self._told:
            self._told.add(instance)
            await self._processes.drain(instance)
            return
        elif machine.state in ("started", "stopping"):
            return
        # What it runs no longer, whatever became of it.
        await self._processes.terminate(instance)
        del self._inside[machine.id]
        self._told.discard(instance)
        machine.attended = False
