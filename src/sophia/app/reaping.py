"""The reaper by hand: providers and ledger, and nothing else of the platform."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping

from sophia.app import build, machines
from sophia.nouns.clock import SystemClock
from sophia.pools.reaper import Reaper, Unwanted
from sophia.settings.loaded import Loaded


async def find_unwanted(loaded: Loaded, environ: Mapping[str, str]) -> list[Unwanted]:
    """Machines that no pool wants. Raises ``Unavailable`` without the ledger."""
    async with _reaper(loaded, environ) as reaper:
        return await reaper.look()


async def end_unwanted(loaded: Loaded, environ: Mapping[str, str], chosen: list[Unwanted]) -> list[Unwanted]:
    """Terminate those that are still unwanted; those for which it worked."""
    async with _reaper(loaded, environ) as reaper:
        still = {(one.provider, one.machine.ref) for one in await reaper.look()}
        return await reaper.end([one for one in chosen if (one.provider, one.machine.ref) in still])


@contextlib.asynccontextmanager
async def _reaper(loaded: Loaded, environ: Mapping[str, str]) -> AsyncIterator[Reaper]:
    clock = SystemClock()
    providers = machines.providers(loaded, {"environment": environ}, clock)
    try:
        async with build.ledger(loaded) as ledger:
            settings = loaded.settings
            yield Reaper(settings.pools, providers, ledger, clock, settings.pools_loop.reap_every_s)
    finally:
        for provider in providers.values():
            await provider.close()
