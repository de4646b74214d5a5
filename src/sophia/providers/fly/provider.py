"""The machine provider ``fly``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence

import msgspec

from sophia.nouns.errors import Conflict, InsufficientCapacity, InvalidInput, NotFound, SophiaError, Unavailable
from sophia.nouns.pool import Offer, PoolSpec
from sophia.providers.base import LaunchRequest, Machine, Traits
from sophia.providers.fly import wire
from sophia.providers.fly.client import FlyClient
from sophia.providers.fly.prices import FlySize, size_named

log = logging.getLogger(__name__)

OWNER_KEY = "sophia_owner"
POOL_KEY = "sophia_pool"
INSTANCE_KEY = "sophia_instance"
LEASE_TTL_S = 30
RELEASE_TIMEOUT_S = 5.0
MOST_TRIES = 3
"""Stopped machines that are tried before a new one is made."""
LONGEST_STOP_S = 300.0
"""Fly kills a machine that takes longer to stop."""

STATES = {
    "created": "booting",
    "starting": "booting",
    "replacing": "booting",
    "restarting": "booting",
    "started": "running",
    "stopping": "stopping",
    "suspending": "stopping",
    "destroying": "stopping",
    "failed": "lost",
}
"""A state that is not known yet counts as ``unhealthy``: it can neither be trusted nor forgotten."""
RESTING = frozenset({"stopped", "suspended"})
GONE = RESTING | {"destroyed", "replaced"}
"""Costs no time and does no work."""


class FlyApp(msgspec.Struct, frozen=True, kw_only=True):
    """What the machines of one pool run. Secrets are the app's own on Fly; none is in here."""

    name: str
    image: str
    command: tuple[str, ...]
    """Arguments of the image's entry point, to which ``--id INSTANCE`` is added."""
    environment: Mapping[str, str] = {}
    drain_timeout_s: float = 30.0
    kill_signal: str = "SIGTERM"


class FlyProvider:
    """Implements ``Provider``. ``apps`` by pool. Only machines that carry our ``owner`` in their metadata are touched.

    Machines that have stopped stay and cost next to nothing; the next launch in their region starts one of them, under
    a lease, with a configuration of its own. The instance id is in the metadata; a new machine is named after it, and
    names are unique, so no launch makes two. Suspended machines are taken as well, and boot anew: one that resumed
    would go on as the instance that it was.
    """

    name = "fly"
    traits = Traits(launch_grace_s=30.0, ends_with_worker=True)

    def __init__(self, client: FlyClient, apps: Mapping[str, FlyApp], *, owner: str) -> None:
        self._client = client
        self._apps = dict(apps)
        self._owner = owner
        self._app_of: dict[str, FlyApp] = {}
        """Of machines seen in lists."""

    def launch_wait_s(self) -> float:
        return max((self._client.create_wait_s(app.name) for app in self._apps.values()), default=0.0)

    async def offers(self, spec: PoolSpec) -> list[Offer]:
        """Fly does not say where it has capacity. A pool without regions has no offers."""
        return [
            Offer(
                instance_type=name,
                region=region,
                price_usd_per_hour=size_named(name).usd_per_hour(region),
                available=None,
            )
            for name in spec.instance_types
            for region in spec.regions
        ]

    async def launch(self, request: LaunchRequest) -> Machine:
        app = self._apps.get(request.pool)
        if app is None:
            raise InvalidInput(f"no app on Fly is set up for pool {request.pool!r}", field="pool")
        size = size_named(request.offer.instance_type)
        config = self._config(app, request, size)
        listed = await self._restarted(app, request, config)
        if listed is None:
            listed = await self._created(app, request, config)
        self._app_of[listed.id] = app
        return Machine(
            ref=listed.id,
            name=request.instance_id,
            pool=request.pool,
            state="booting",
            instance_type=size.name,
            region=listed.region or request.offer.region,
            price_usd_per_hour=request.offer.price_usd_per_hour,
        )

    async def machines(self) -> Sequence[Machine]:
        found: list[Machine] = []
        seen: dict[str, FlyApp] = {}
        for app in {app.name: app for app in self._apps.values()}.values():
            for listed in await self._client.machines(app.name):
                if listed.known.metadata.get(OWNER_KEY) == self._owner:
                    seen[listed.id] = app
                    if listed.state not in GONE:
                        found.append(_machine(listed))
        self._app_of = seen
        return found

    async def drain(self, ref: str) -> None:
        """The app's signal, and after its drain time the end. A machine that still boots has no work: it is destroyed."""
        app = await self._home(ref)
        if app is None:
            return
        with contextlib.suppress(NotFound):
            try:
                await self._signal_stop(app, ref)
            except Conflict:
                state = STATES.get((await self._client.machine(app.name, ref)).state)
                if state == "booting":
                    await self._client.destroy(app.name, ref)
                elif state == "running":
                    await self._signal_stop(app, ref)

    async def _signal_stop(self, app: FlyApp, ref: str) -> None:
        timeout_s = min(app.drain_timeout_s, LONGEST_STOP_S)
        await self._client.stop(app.name, ref, signal=app.kill_signal, timeout_s=timeout_s)

    async def terminate(self, ref: str) -> None:
        """Killed, and kept for a later start; destroyed where it cannot be stopped."""
        app = await self._home(ref)
        if app is None:
            return
        try:
            state = (await self._client.machine(app.name, ref)).state
            if state in GONE:
                return
            if state in ("started", "stopping"):
                try:
                    await self._client.stop(app.name, ref, signal="SIGKILL", timeout_s=1)
                    return
                except Conflict:
                    log.info("machine %s cannot be stopped in its state; it is destroyed", ref)
            await self._client.destroy(app.name, ref)
        except NotFound:
            return

    async def close(self) -> None:
        await self._client.close()

    async def _home(self, ref: str) -> FlyApp | None:
        """The app that a machine is in; ``None``: it is not ours."""
        if ref not in self._app_of:
            await self.machines()
        return self._app_of.get(ref)

    async def _restarted(self, app: FlyApp, request: LaunchRequest, config: wire.Config) -> wire.Listed | None:
        """A machine that rests, started as the new instance; ``None`` when there is none to be had."""
        resting = [
            listed
            for listed in await self._client.machines(app.name)
            if listed.state in RESTING
            and listed.region == request.offer.region
            and listed.host_status == "ok"
            and listed.known.metadata.get(OWNER_KEY) == self._owner
        ]
        # Of the same size first, so that its host very likely has room for it; then the one used last.
        resting.sort(key=lambda one: (_size(one.known.guest).name == request.offer.instance_type, one.updated_at))
        for listed in reversed(resting[-MOST_TRIES:]):
            try:
                started = await self._start_as(app, listed, config)
            except (Conflict, NotFound, InsufficientCapacity) as error:
                log.info("machine %s cannot be started, another one is taken: %s", listed.id, error)
                continue
            if started is not None:
                return started
        return None

    async def _start_as(self, app: FlyApp, listed: wire.Listed, config: wire.Config) -> wire.Listed | None:
        """``None``: somebody else was faster. From the update on, a lost answer may mean that it runs."""
        nonce = await self._client.lease(app.name, listed.id, LEASE_TTL_S)
        try:
            if (await self._client.machine(app.name, listed.id)).state not in RESTING:
                return None
            updated = await self._client.update(app.name, listed.id, wire.Order(config=config), nonce)
            if updated.state in RESTING:
                await self._client.start(app.name, listed.id, nonce)
            return updated
        finally:
            await self._give_back(app, listed.id, nonce)

    async def _give_back(self, app: FlyApp, machine: str, nonce: str) -> None:
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT_S):
                await self._client.release(app.name, machine, nonce)
        except (SophiaError, TimeoutError) as error:
            log.info("the lease of machine %s ends by itself in %d s: %s", machine, LEASE_TTL_S, error)

    async def _created(self, app: FlyApp, request: LaunchRequest, config: wire.Config) -> wire.Listed:
        order = wire.Order(name=request.instance_id, region=request.offer.region, config=config)
        try:
            return await self._client.create(app.name, order)
        except Conflict as error:
            # Its name is its intent: an earlier order, whose answer was lost, has been carried out.
            raise Unavailable(f"a machine of that name is there already: {error.message}") from error

    def _config(self, app: FlyApp, request: LaunchRequest, size: FlySize) -> wire.Config:
        return wire.Config(
            image=app.image,
            guest=wire.Guest(cpu_kind=size.cpu_kind, cpus=size.cpus, memory_mb=size.memory_mb),
            init=wire.Init(cmd=(*app.command, "--id", request.instance_id)),
            env=dict(app.environment),
            metadata={
                OWNER_KEY: self._owner,
                POOL_KEY: request.pool,
                INSTANCE_KEY: request.instance_id,
                "fly_process_group": "app",
            },
            # A worker that ended has been drained, or a new instance takes its place: nothing restarts it.
            restart=wire.Restart(policy="no"),
            stop_config=wire.StopConfig(
                signal=app.kill_signal, timeout=f"{min(app.drain_timeout_s, LONGEST_STOP_S):g}s"
            ),
        )


def _size(guest: wire.Guest) -> FlySize:
    return FlySize(cpu_kind=guest.cpu_kind, cpus=guest.cpus, memory_mb=guest.memory_mb)


def _machine(listed: wire.Listed) -> Machine:
    metadata = listed.known.metadata
    size = _size(listed.known.guest)
    state = STATES.get(listed.state, "unhealthy")
    if listed.host_status != "ok" and state in ("running", "booting"):
        state = "unhealthy"
    return Machine(
        ref=listed.id,
        name=metadata.get(INSTANCE_KEY) or listed.name,
        pool=metadata.get(POOL_KEY, ""),
        state=state,
        instance_type=size.name,
        region=listed.region,
        price_usd_per_hour=size.usd_per_hour(listed.region),
        billed=listed.state == "started",
    )
