"""The emulated GPU cloud of `sophia up --cloud emulated`: its machines are worker processes on this one."""

from __future__ import annotations

import asyncio
import time

from sophia.app import machines
from sophia.emulated.cloud import EmulatedMachine, Nature
from sophia.emulated.lambda_cloud import EmulatedLambda
from sophia.emulated.machines import WorkerMachines
from sophia.emulated.server import CloudServer
from sophia.nouns.errors import ConfigError
from sophia.providers.lambda_cloud.provider import INSTANCE_TAG, POOL_TAG
from sophia.settings.loaded import Loaded

FOLDER = "cloud"
"""In the data folder: the files of its machines."""
NATURE = Nature(boot_s=(8.0, 15.0), stop_s=2.0, listed_after_end_s=3.0)
"""Boots are shortened for people who watch; rates, limits and prices are the cloud's own."""


async def serve_cloud(loaded: Loaded, options: machines.Options, stop: asyncio.Event) -> None:
    """Serve until ``stop``. Machines of an emulation that ended before are ended first: its cloud is gone."""
    if loaded.lambda_cloud is None:
        raise ConfigError(
            "the emulated cloud needs a key", field="--profile", mend="it is started by `sophia up --cloud emulated`"
        )
    cloud = EmulatedLambda(time.monotonic, NATURE, api_key=loaded.lambda_cloud.api_key)
    processes = machines.local_provider(loaded, options, FOLDER)
    for left in await processes.machines():
        await processes.terminate(left.ref)
    workers = WorkerMachines(cloud.fleet, processes, loaded.settings.pools, _placement)
    server = CloudServer(cloud.app, options.get("host") or "127.0.0.1", options.get("port") or 0)
    serving = asyncio.create_task(server.run())
    working = asyncio.create_task(workers.run())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        server.stop()
        working.cancel()
        stopping.cancel()
        ended = await asyncio.gather(serving, working, stopping, return_exceptions=True)
    for each in ended:
        if isinstance(each, Exception):
            raise each


def _placement(machine: EmulatedMachine) -> tuple[str, str] | None:
    pool, instance_id = machine.tags.get(POOL_TAG), machine.tags.get(INSTANCE_TAG)
    return (pool, instance_id) if pool and instance_id else None
