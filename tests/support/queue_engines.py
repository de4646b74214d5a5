"""Every queue engine as the conformance suite drives it, with the pokes at its inside that the suite needs."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
from redis import exceptions as driver

from sophia.events.base import EventLog
from sophia.events.jetstream import JetStreamEventLog
from sophia.events.redis import RedisEventLog
from sophia.queue.base import BudgetBalances, PoisonShelf, QueueUpkeep, TaskQueue, WorkQueue
from sophia.queue.jetstream import (
    JetStreamOptions,
    JetStreamTaskQueue,
    JetStreamUpkeep,
    JetStreamWorkQueue,
    close_bus,
    names,
    open_bus,
)
from sophia.queue.jetstream.messages import Put
from sophia.queue.redis import QueueOptions, RedisTaskQueue, RedisUpkeep, RedisWorkQueue
from sophia.queue.redis.shared import partition_prefix
from sophia.redis.connection import connect_any
from tests.support.budget_accounts import open_accounts
from tests.support.clusters import empty
from tests.support.nats import empty_nats

STREAMS = ("planning", "coding", "embedding", "research", "light")


class Engine(msgspec.Struct):
    tasks: TaskQueue
    shelf: PoisonShelf
    balances: BudgetBalances
    work: WorkQueue
    upkeep: QueueUpkeep
    events: EventLog
    lose_a_delivery: Callable[[], Awaitable[None]]
    """What waits in the stream ``light`` is delivered to a worker that dies before it begins."""
    add_poison: Callable[[], Awaitable[None]]
    """Entries that are no tasks, in the stream ``light``."""
    lose_everything: Callable[[], Awaitable[None]]
    """As a server that is new."""
    forget_accounts_are_open: Callable[[], Awaitable[None]]


Factory = Callable[..., AbstractAsyncContextManager[Engine]]


@contextlib.asynccontextmanager
async def redis_engine(redis_url: str, nats_url: str, partitions: int = 1, **options: Any) -> AsyncIterator[Engine]:
    chosen = QueueOptions(streams=STREAMS, partitions=partitions, fair_window=4, **options)
    client, blocking = connect_any(redis_url), connect_any(redis_url, reply_timeout_s=70)
    await empty(client)
    work = RedisWorkQueue(client, blocking, chosen)
    streams = [f"{partition_prefix(number)}:stream:light:2" for number in range(4)]

    async def lose_a_delivery() -> None:
        for key in streams:
            try:
                await client.call(key, "XREADGROUP", "GROUP", "workers", "w-dead", "STREAMS", key, ">")
            except driver.ResponseError:
                await work.lease("w1", ["light"], 1, 0)

    async def add_poison() -> None:
        for key in streams:
            await client.call(key, "XADD", key, "*", "what", "ever")

    async def lose_everything() -> None:
        await empty(client)

    async def forget_accounts_are_open() -> None:
        for number in range(4):
            key = f"{partition_prefix(number)}:accounts"
            await client.call(key, "DEL", key)

    tasks = RedisTaskQueue(client, chosen)
    engine = Engine(
        tasks=tasks,
        shelf=tasks,
        balances=tasks,
        work=work,
        upkeep=RedisUpkeep(client, blocking, chosen),
        events=RedisEventLog(client, blocking, chosen),
        lose_a_delivery=lose_a_delivery,
        add_poison=add_poison,
        lose_everything=lose_everything,
        forget_accounts_are_open=forget_accounts_are_open,
    )
    await open_accounts(engine.upkeep)
    try:
        yield engine
    finally:
        await engine.work.close()
        await engine.tasks.close()
        await client.aclose()
        await blocking.aclose()


@contextlib.asynccontextmanager
async def redis_4_partitions(redis_url: str, nats_url: str, **options: Any) -> AsyncIterator[Engine]:
    async with redis_engine(redis_url, nats_url, 4, **options) as engine:
        yield engine


@contextlib.asynccontextmanager
async def jetstream_engine(redis_url: str, nats_url: str, **options: Any) -> AsyncIterator[Engine]:
    chosen = JetStreamOptions(streams=STREAMS, **options)
    await empty_nats(nats_url)
    bus = await open_bus(nats_url)

    async def lose_a_delivery() -> None:
        """Nothing is delivered before an attempt begins: a worker that dies there has only read."""

    async def add_poison() -> None:
        for number in range(4):
            await bus.write([Put("sophia.n.q.light.2.default." + f"what-{number}", b"ever")])
            await bus.write([Put("sophia.k.a.light.2.default")])

    async def lose_everything() -> None:
        await bus.api(f"STREAM.DELETE.{names.STREAM}")

    async def forget_accounts_are_open() -> None:
        await bus.purge(names.ACCOUNTS)

    tasks = JetStreamTaskQueue(bus, chosen)
    engine = Engine(
        tasks=tasks,
        shelf=tasks,
        balances=tasks,
        work=JetStreamWorkQueue(bus, chosen),
        upkeep=JetStreamUpkeep(bus, chosen),
        events=JetStreamEventLog(bus),
        lose_a_delivery=lose_a_delivery,
        add_poison=add_poison,
        lose_everything=lose_everything,
        forget_accounts_are_open=forget_accounts_are_open,
    )
    await open_accounts(engine.upkeep)
    try:
        yield engine
    finally:
        await engine.work.close()
        await engine.tasks.close()
        await close_bus(bus)


ENGINES: dict[str, Factory] = {
    "redis": redis_engine,
    "redis-4-partitions": redis_4_partitions,
    "jetstream": jetstream_engine,
}
