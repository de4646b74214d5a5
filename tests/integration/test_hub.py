"""The hub: one reader of the log for all who follow it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import pytest

from sophia.embedded.redis_server import RedisServer
from sophia.events.hub import Hub, Loss, Subscription
from sophia.events.redis import RedisEventLog
from sophia.nouns.errors import Unavailable
from sophia.nouns.event import Event, EventKind
from sophia.queue.redis import QueueOptions
from sophia.redis.connection import Client, connect
from tests.support.waiting import eventually


def event(number: int, kind: EventKind = EventKind.QUEUE_CHANGED) -> Event:
    return Event(kind=kind, at_ms=number, subject=f"s{number}")


def log_on(client: Client, blocking: Client, events_max: int = 100_000) -> RedisEventLog:
    return RedisEventLog(client, blocking, QueueOptions(streams=("light",), platform_events_max=events_max))


@contextlib.asynccontextmanager
async def following(hub: Hub) -> AsyncIterator[None]:
    task = asyncio.create_task(hub.run())
    try:
        yield
    finally:
        await hub.stop()
        async with asyncio.timeout(5):
            await task


async def take(subscription: Subscription, count: int) -> list[str]:
    taken: list[str] = []
    async with asyncio.timeout(15):
        while len(taken) < count:
            delivery = await subscription.next(1.0)
            assert subscription.loss is None
            if delivery is not None:
                taken.append(delivery.event.subject)
    return taken


@pytest.fixture
def events(redis_client: Client, blocking_client: Client) -> RedisEventLog:
    return log_on(redis_client, blocking_client)


async def test_everybody_gets_what_they_asked_for_in_order(events: RedisEventLog) -> None:
    hub = Hub(events)
    await events.publish([event(0)])
    async with (
        following(hub),
        hub.subscribe(lambda _: True) as all_,
        hub.subscribe(lambda made: made.kind is EventKind.POOL_CHANGED) as pools,
    ):
        await events.publish(
            [event(n, EventKind.POOL_CHANGED if n % 3 == 0 else EventKind.QUEUE_CHANGED) for n in range(1, 10)]
        )
        assert await take(all_, 9) == [f"s{n}" for n in range(1, 10)]
        assert await take(pools, 3) == ["s3", "s6", "s9"]
        assert await pools.next(0) is None
    assert hub.followers == 0


async def test_a_slow_follower_loses_its_place_and_nobody_else_does(events: RedisEventLog) -> None:
    hub = Hub(events, capacity=5)
    async with following(hub), hub.subscribe(lambda _: True) as slow, hub.subscribe(lambda _: True) as quick:
        for start in range(0, 10, 5):
            await events.publish([event(n) for n in range(start, start + 5)])
            assert await take(quick, 5) == [f"s{n}" for n in range(start, start + 5)]
        assert slow.loss is Loss.OVERFLOW
        assert await slow.next(5) is None
        slow.resume(hub.cursor)
        await events.publish([event(10)])
        assert await take(slow, 1) == ["s10"]


async def test_an_outage_of_the_log_loses_nothing(own_redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "sophia.events.hub")
    client, blocking = connect(own_redis.url), connect(own_redis.url)
    events = log_on(client, blocking)
    hub = Hub(events, read_wait_s=0.5)
    async with following(hub), hub.subscribe(lambda _: True) as subscription:
        await events.publish([event(1)])
        assert await take(subscription, 1) == ["s1"]
        await own_redis.stop()
        await eventually(lambda: "event log unavailable" in caplog.text, timeout_s=15)
        await own_redis.start()
        await events.publish([event(2), event(3)])
        assert await take(subscription, 2) == ["s2", "s3"]
    await client.aclose()
    await blocking.aclose()


async def test_a_trimmed_log_makes_followers_read_again(redis_client: Client, blocking_client: Client) -> None:
    events = log_on(redis_client, blocking_client, events_max=1)
    hub = Hub(events, read_wait_s=0.2)
    await events.publish([event(0)])
    async with following(hub), hub.subscribe(lambda _: True) as subscription:
        # Trimming is by whole blocks of a hundred entries.
        await events.publish([event(n) for n in range(500)])
        await eventually(lambda: subscription.loss or not subscription.drained)
        await events.publish([event(n) for n in range(500, 1000)])
        async with asyncio.timeout(10):
            while subscription.loss is None:
                await subscription.next(0.1)
                await events.publish([event(n) for n in range(500)])


async def test_nobody_is_served_by_a_hub_that_never_reached_the_log(
    redis_client: Client, blocking_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sophia.events.hub.START_TIMEOUT_S", 0.05)
    hub = Hub(log_on(redis_client, blocking_client))
    with pytest.raises(Unavailable):
        async with hub.subscribe(lambda _: True):
            pass


async def test_an_idle_hub_is_one_blocking_read(events: RedisEventLog, redis_client: Client) -> None:
    hub = Hub(events)

    async def commands() -> int:
        return int((await redis_client.info("stats"))["total_commands_processed"])

    async with following(hub), hub.subscribe(lambda _: True) as subscription:
        await events.publish([event(1)])
        assert await take(subscription, 1) == ["s1"]
        before = await commands()
        assert await subscription.next(1.0) is None
        # Besides our own INFO: the read's own command, and the one before it that looks for a gap.
        assert await commands() - before <= 3
