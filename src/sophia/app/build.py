"""Adapters from settings."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec
from prometheus_client import REGISTRY

from sophia.access.base import CallGate
from sophia.access.flush import UsageFlush
from sophia.access.ledger_gate import LedgerCallGate
from sophia.access.redis import RedisCallGate, RedisCallUpkeep
from sophia.app import jetstream
from sophia.app.embedders import pool_embedders
from sophia.events.base import EventLog
from sophia.events.redis import RedisEventLog
from sophia.inference.base import Models
from sophia.inference.directory import ModelDirectory
from sophia.inference.registry_redis import RedisEndpointRegistry
from sophia.intake import Intake
from sophia.nouns.clock import SystemClock
from sophia.nouns.errors import ConfigError
from sophia.nouns.pool import PoolSpec
from sophia.objects.base import ObjectStore
from sophia.objects.packing import Packing
from sophia.queue.base import BudgetBalances, PoisonShelf, QueueUpkeep, TaskQueue, WorkQueue
from sophia.queue.redis import QueueOptions, RedisTaskQueue, RedisUpkeep, RedisWorkQueue
from sophia.queue.redis.shared import partition_prefix
from sophia.redis.base import Redis
from sophia.redis.connection import check_url, connect_any
from sophia.settings.loaded import Loaded

if TYPE_CHECKING:
    from sophia.store.sql import SqlLedger

log = logging.getLogger(__name__)

BLOCKING_REPLY_TIMEOUT_S = 70.0


class Backbone(msgspec.Struct):
    """What every role stands on."""

    queue: TaskQueue
    poison: PoisonShelf
    balances: BudgetBalances
    work: WorkQueue
    upkeep: QueueUpkeep
    events: EventLog
    redis: Redis | None
    """``None``: the queue is not on Redis."""


def queue_options(loaded: Loaded) -> QueueOptions:
    queue = loaded.settings.queue
    return QueueOptions(
        streams=queue.streams,
        partitions=loaded.settings.redis.partitions,
        lease_s=queue.lease_s,
        idempotency_ttl_s=queue.idempotency_ttl_s,
        result_ttl_s=queue.result_ttl_s,
        task_events_max=queue.task_events_max,
        platform_events_max=queue.platform_events_max,
        fair_window=queue.fair_window,
        age_boost_s=queue.age_boost_s,
        tenant_max_running=queue.tenant_max_running,
        max_running={
            **{f"type:{name}": cap for name, cap in queue.type_max_running.items()},
            **{f"tenant:{name}": t.max_running for name, t in loaded.settings.tenants.items() if t.max_running},
        },
        budgets={name: tenant.budget for name, tenant in loaded.settings.tenants.items()},
    )


@contextlib.asynccontextmanager
async def backbone(loaded: Loaded) -> AsyncIterator[Backbone]:
    """Queue and events: on Redis over one ordinary and one blocking client, closed at the end."""
    if loaded.settings.queue.engine == "jetstream":
        async with jetstream.engine(loaded) as engine:
            yield Backbone(
                queue=engine.queue,
                poison=engine.poison,
                balances=engine.balances,
                work=engine.work,
                upkeep=engine.upkeep,
                events=engine.events,
                redis=None,
            )
        return
    if loaded.redis_url is None:
        raise ConfigError(
            "this role needs a Redis server",
            field="redis.url",
            mend="run `sophia up`, which starts one, or set SOPHIA_REDIS_URL",
        )
    options = queue_options(loaded)
    client = connect_any(loaded.redis_url)
    blocking = connect_any(loaded.redis_url, reply_timeout_s=BLOCKING_REPLY_TIMEOUT_S)
    queue = RedisTaskQueue(client, options)
    built = Backbone(
        queue=queue,
        poison=queue,
        balances=queue,
        work=RedisWorkQueue(client, blocking, options),
        upkeep=RedisUpkeep(client, blocking, options),
        events=RedisEventLog(client, blocking, options),
        redis=client,
    )
    try:
        await check_url(client, [partition_prefix(number) for number in range(options.partitions)])
        yield built
    finally:
        await built.work.close()
        await built.queue.close()
        await built.events.close()
        await client.aclose()
        await blocking.aclose()


@contextlib.asynccontextmanager
async def call_gate(loaded: Loaded, backbone: Backbone, ledger: SqlLedger) -> AsyncIterator[CallGate]:
    clock = SystemClock()
    gate: CallGate
    if backbone.redis is not None:
        settings = loaded.settings
        gate = RedisCallGate(backbone.redis, settings.redis.partitions, clock, cache_bytes=settings.caches.max_bytes)
    else:
        gate = LedgerCallGate(ledger.calls, clock)
        for name, tenant in loaded.settings.tenants.items():
            if tenant.budget.caps_usd or tenant.budget.caps_tokens:
                log.warning("model calls of tenant %r are refused: its budget needs queue.engine redis", name)
    try:
        yield gate
    finally:
        await gate.close()


def usage_flush(loaded: Loaded, backbone: Backbone, ledger: SqlLedger) -> UsageFlush | None:
    """What brings the gate's counts to the ledger, where it does not do so itself."""
    if backbone.redis is None:
        return None
    return UsageFlush(RedisCallUpkeep(backbone.redis, loaded.settings.redis.partitions), ledger.calls, SystemClock())


@contextlib.asynccontextmanager
async def objects(loaded: Loaded) -> AsyncIterator[ObjectStore]:
    from sophia.objects.places import open_objects

    opened = open_objects(loaded.objects, loaded.data_dir)
    try:
        yield opened
    finally:
        await opened.close()


def packing(loaded: Loaded, store: ObjectStore) -> Packing:
    return Packing(store, loaded.settings.objects.inline_max_bytes)


def intake(loaded: Loaded, queue: TaskQueue, ledger: SqlLedger, store: ObjectStore) -> Intake:
    return Intake(
        queue,
        ledger,
        ledger,
        packing(loaded, store),
        SystemClock(),
        idempotency_ttl_s=loaded.settings.queue.idempotency_ttl_s,
    )


@contextlib.asynccontextmanager
async def ledger(loaded: Loaded) -> AsyncIterator[SqlLedger]:
    from sophia.store.sql import open_ledger

    opened = open_ledger(loaded.ledger_url, loaded.data_dir)
    try:
        await opened.migrate()
        yield opened
    finally:
        await opened.close()


@contextlib.asynccontextmanager
async def models(loaded: Loaded, pool: PoolSpec | None = None) -> AsyncIterator[Models]:
    """Every configured model. A pool that lists embedding models runs them in its own process."""
    async with pool_embedders(loaded, pool) as embedders:
        client = connect_any(loaded.redis_url) if loaded.redis_url is not None else None
        directory = ModelDirectory(
            loaded.settings,
            loaded.providers,
            embedders,
            registry=REGISTRY,
            endpoints=RedisEndpointRegistry(client) if client is not None else None,
        )
        try:
            yield directory
        finally:
            await directory.close()
            if client is not None:
                await client.aclose()
