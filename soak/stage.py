"""What the scenarios on one server share: the server, its workers behind a proxy each, and its routers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from soak.accounts import tenants_settings
from soak.engines import ENGINES, Engine, start_proxy
from soak.fleet import Member
from sophia.app import build
from sophia.intake import Intake
from sophia.settings.load import load
from sophia.store.base import Ledger
from tests.support.fault_proxy import FaultProxy

LEASE_S = 3.0
ROUTERS = 2

Say = Callable[[str], None]


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    seed: int
    tasks: int
    over_s: float
    """Tasks are submitted over this time."""
    engine: str
    folder: Path
    workers: int = 3
    less: bool = False
    """Fewer faults, for a run that has to be short."""

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    @property
    def mended(self) -> Path:
        """A file that appears once what makes hopeless tasks fail was mended."""
        return self.folder / "mended"

    @property
    def released(self) -> Path:
        """A file that appears once tasks that wait for it may go on."""
        return self.folder / "released"


class Outcome(msgspec.Struct, kw_only=True):
    problems: list[str]
    summary: list[str]


class Stage(msgspec.Struct, kw_only=True):
    orders: Orders
    engine: Engine
    backbone: build.Backbone
    intake: Intake
    ledger: Ledger
    workers: list[Member]
    routers: list[Member]
    proxies: list[FaultProxy]


@contextlib.asynccontextmanager
async def staged(orders: Orders, surprises: list[str]) -> AsyncIterator[Stage]:
    """Everything started; stopped in order at the end. ``surprises`` takes what processes do unasked."""
    engine = ENGINES[orders.engine](orders.folder)
    try:
        await engine.start()
        config = _write_config(orders)
        environment = {**os.environ, **engine.environment(engine.address)}
        loaded = load(config, orders.folder / "data", environment, "local")
        async with (
            build.backbone(loaded) as backbone,
            build.ledger(loaded) as ledger,
            build.objects(loaded) as objects,
            _fleet(orders, engine, config, surprises) as (workers, routers, proxies),
        ):
            yield Stage(
                orders=orders,
                engine=engine,
                backbone=backbone,
                intake=build.intake(loaded, backbone.queue, ledger, objects),
                ledger=ledger,
                workers=workers,
                routers=routers,
                proxies=proxies,
            )
    finally:
        await engine.stop()


def _write_config(orders: Orders) -> Path:
    """The product's settings with shorter times, and a pool that nobody scales."""
    streams = load(None, orders.folder, {}, "local").settings.queue.streams
    pool = {"provider": "nobody", "streams": list(streams), "instance_types": ["process"], "max": orders.workers}
    values: dict[str, Any] = {
        "queue": {
            "engine": orders.engine,
            "lease_s": LEASE_S,
            "heartbeat_s": 1.0,
            "retry": {"base_s": 0.2, "max_s": 1.0},
            "result_ttl_s": 1_800.0,
            "idempotency_ttl_s": 1_800.0,
            "platform_events_max": 5_000,
        },
        "tenants": tenants_settings(),
        "pools": {"cpu-workers": pool, "inference": None, "vllm": None, "embedding": None},
    }
    path = orders.folder / "sophia.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@contextlib.asynccontextmanager
async def _fleet(
    orders: Orders, engine: Engine, config: Path, surprises: list[str]
) -> AsyncIterator[tuple[list[Member], list[Member], list[FaultProxy]]]:
    folder = orders.folder
    common = ["--config", str(config), "--data-dir", str(folder / "data")]
    proxies = [await start_proxy(engine, folder, number) for number in range(orders.workers)]
    own = ["--journal", str(orders.journal), "--mended", str(orders.mended), "--released", str(orders.released)]
    workers = [
        Member(
            f"worker{number}",
            ["-m", "soak.worker", *common, *own, "--id", "{id}", "--clock-seed", str(orders.seed + number)],
            engine.environment(proxy.address),
            folder,
            surprises,
        )
        for number, proxy in enumerate(proxies)
    ]
    router = ["-m", "sophia.cli.main", "router", *common]
    routers = [
        Member(f"router{number}", router, engine.environment(engine.address), folder, surprises)
        for number in range(ROUTERS)
    ]
    members: Sequence[Member] = [*workers, *routers]
    try:
        for member in members:
            await member.start()
        yield workers, routers, proxies
        started_s = time.monotonic()
        await asyncio.gather(*(member.stop() for member in members))
        if time.monotonic() - started_s > 20:
            surprises.append(f"it took {time.monotonic() - started_s:.0f} s to stop idle processes")
    finally:
        for member in members:
            if member.process is not None and member.process.returncode is None:
                await member.kill()
        for proxy in proxies:
            await proxy.stop()
