"""A whole front of house for tests: gateway and WebSocket server on free ports, over a real queue and ledger."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest_asyncio
from prometheus_client import CollectorRegistry

from sophia.access.flush import UsageFlush
from sophia.access.redis import RedisCallGate, RedisCallUpkeep
from sophia.app.build import queue_options
from sophia.events.hub import Hub
from sophia.events.redis import RedisEventLog
from sophia.gateway.deps import GatewayDeps
from sophia.gateway.service import Gateway
from sophia.hosts.tokens import RedisJoinTokens
from sophia.inference.base import Models
from sophia.intake import Intake
from sophia.nouns.clock import SystemClock
from sophia.nouns.task import AttemptOutcome
from sophia.nouns.usage import Usage
from sophia.objects.packing import Packing
from sophia.objects.places import open_objects
from sophia.queue.base import Emission, Lease, Settlement
from sophia.queue.redis import RedisTaskQueue, RedisUpkeep, RedisWorkQueue
from sophia.redis.connection import Client, connect
from sophia.settings.load import load
from sophia.settings.loaded import Loaded, TenantKey
from sophia.store.sql import SqlLedger, open_ledger
from sophia.websocket.deps import WebSocketDeps
from sophia.websocket.service import WebSocketServer
from tests.support.budget_accounts import open_accounts
from tests.support.models import make_models
from tests.support.waiting import eventually

KEY, OTHER_KEY = "key-of-acme", "key-of-globex"
KEY_SECRET = b"a secret of the tests, 32 bytes long"
TENANT, OTHER_TENANT = "acme", "globex"
HEADERS = {"Authorization": f"Bearer {KEY}"}
OTHER_HEADERS = {"Authorization": f"Bearer {OTHER_KEY}"}


class Platform:
    """What a test of the HTTP or WebSocket side talks to, and the means to play a worker behind it."""

    def __init__(
        self, loaded: Loaded, redis_url: str, models: Models, static_dir: Path | None, events_max: int
    ) -> None:
        self.loaded = loaded
        self.client: Client = connect(redis_url)
        self._blocking: Client = connect(redis_url, reply_timeout_s=70)
        options = msgspec.structs.replace(queue_options(loaded), lease_s=5.0, platform_events_max=events_max)
        self.queue_options = options
        self.queue = RedisTaskQueue(self.client, options)
        self.work = RedisWorkQueue(self.client, self._blocking, options)
        self.upkeep = RedisUpkeep(self.client, self._blocking, options)
        self.events = RedisEventLog(self.client, self._blocking, options)
        self.ledger: SqlLedger = open_ledger(None, loaded.data_dir)
        self.objects = open_objects(None, loaded.data_dir)
        self.packing = Packing(self.objects, loaded.settings.objects.inline_max_bytes)
        self.intake = Intake(
            self.queue,
            self.ledger,
            self.ledger,
            self.packing,
            SystemClock(),
            idempotency_ttl_s=loaded.settings.queue.idempotency_ttl_s,
        )
        self.gate = RedisCallGate(self.client, options.partitions, SystemClock())
        self.flush = UsageFlush(RedisCallUpkeep(self.client, options.partitions), self.ledger.calls, SystemClock())
        self.registry = CollectorRegistry()
        self.hub = Hub(self.events, read_wait_s=1.0)
        self.models = models
        self.gateway_deps = GatewayDeps(
            loaded=loaded,
            queue=self.queue,
            poison=self.queue,
            balances=self.queue,
            events=self.events,
            hub=self.hub,
            ledger=self.ledger,
            files=self.ledger.files,
            batches=self.ledger.batches,
            intake=self.intake,
            packing=self.packing,
            models=models,
            keys=self.ledger.keys,
            key_secret=KEY_SECRET,
            gate=self.gate,
            calls=self.ledger.calls,
            flush=self.flush,
            clock=SystemClock(),
            static_dir=static_dir,
            version="9.9.9",
            registry=self.registry,
            join_tokens=RedisJoinTokens(self.client),
        )
        self.gateway = Gateway(self.gateway_deps, "127.0.0.1", 0)
        self.websocket_deps = WebSocketDeps(
            loaded=loaded, events=self.events, hub=self.hub, clock=SystemClock(), registry=self.registry
        )
        self.websocket = WebSocketServer(self.websocket_deps, "127.0.0.1", 0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.gateway.port}"

    @property
    def ws_url(self) -> str:
        return f"http://127.0.0.1:{self.websocket.port}/ws"

    @property
    def followers(self) -> int:
        """Clients that follow events; the gateway itself, which follows changes of keys, is none."""
        return self.hub.followers - 1

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Platform]:
        await self.ledger.migrate()
        await open_accounts(self.upkeep)
        services = [asyncio.create_task(service.run()) for service in (self.hub, self.gateway, self.websocket)]
        try:
            async with asyncio.timeout(10):
                await self.gateway.started.wait()
                await self.websocket.started.wait()
            await eventually(lambda: self.followers == 0)
            yield self
        finally:
            await self.gateway.stop()
            await self.websocket.stop()
            async with asyncio.timeout(20):
                await asyncio.gather(*services[1:])
            await self.hub.stop()
            await services[0]
            await self.gate.close()
            await self.work.close()
            await self.queue.close()
            await self.ledger.close()
            await self.models.close()
            await self.client.aclose()
            await self._blocking.aclose()

    async def lease(self, stream: str = "light") -> Lease:
        """Take the next task of a stream, as a worker does."""
        (lease,) = await self.work.lease("worker-1", [stream], 1, 5.0)
        return lease

    async def emit(self, lease: Lease, text: str) -> None:
        assert await self.work.emit([Emission(lease=lease, kind="task.output", data={"text": text})]) == [True]

    async def succeed(self, lease: Lease, result: Any = None) -> None:
        settlement = Settlement(
            lease=lease,
            outcome=AttemptOutcome.SUCCEEDED,
            result=result or {"text": "done"},
            usage=Usage(input_tokens=3, output_tokens=5, run_s=0.25, cost_nano_usd=2_000),
        )
        assert await self.work.settle([settlement]) == [True]

    async def record(self) -> None:
        """Take what changed into the ledger, as the router does."""
        while changes := await self.upkeep.changes(100, 0.0):
            ids = list(dict.fromkeys(change.task_id for change in changes))
            records = [record for record in await self.queue.get(ids) if record is not None]
            await self.ledger.record(records)
            await self.upkeep.acknowledge(changes)


def loaded_settings(data_dir: Path, changes: Mapping[str, Mapping[str, Any]] | None = None) -> Loaded:
    """The packaged local profile for two tenants; ``changes`` replaces keys of sections."""
    loaded = msgspec.structs.replace(_packaged(), data_dir=data_dir)
    settings = loaded.settings
    for section, values in (changes or {}).items():
        old = getattr(settings, section)
        changed = {**old, **values} if isinstance(old, dict) else msgspec.structs.replace(old, **values)
        settings = msgspec.structs.replace(settings, **{section: changed})
    keys = (TenantKey(tenant=TENANT, key=KEY), TenantKey(tenant=OTHER_TENANT, key=OTHER_KEY))
    return msgspec.structs.replace(loaded, settings=settings, api_keys=keys)


@functools.cache
def _packaged() -> Loaded:
    return load(None, Path("unused"), {"SOPHIA_PROFILE": "local"})


@contextlib.asynccontextmanager
async def front_of_house(
    redis_url: str,
    data_dir: Path,
    *,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    models: Models | None = None,
    static_dir: Path | None = None,
    events_max: int = 100_000,
    operator: bool = False,
) -> AsyncIterator[Platform]:
    """``operator``: the first of the two keys is an operator's."""
    loaded = loaded_settings(data_dir, changes)
    if operator:
        keys = (msgspec.structs.replace(loaded.api_keys[0], operator=True), *loaded.api_keys[1:])
        loaded = msgspec.structs.replace(loaded, api_keys=keys)
    platform = Platform(loaded, redis_url, models or make_models(), static_dir, events_max)
    async with platform.running():
        yield platform


@pytest_asyncio.fixture
async def platform(redis_url: str, tmp_path: Path) -> AsyncIterator[Platform]:
    """Gateway and WebSocket server without a model server."""
    async with front_of_house(redis_url, tmp_path) as running:
        yield running


@pytest_asyncio.fixture
async def api(platform: Platform) -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client of the gateway with a good key."""
    async with aiohttp.ClientSession(platform.url, headers=HEADERS) as session:
        yield session
