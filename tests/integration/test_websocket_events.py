"""Events over WebSocket: what was asked for, in order, each once, across any number of disconnects."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sophia.nouns.event import Event, EventKind
from sophia.nouns.task import Task
from tests.support.gateways import HEADERS, OTHER_TENANT, TENANT, Platform, front_of_house
from tests.support.tasks import make_task
from tests.support.waiting import eventually

TASKS = ["tasks"]


class Client:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def ask(self, **message: Any) -> None:
        await self.socket.send_json(message)

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            message: dict[str, Any] = await self.socket.receive_json()
            return message

    async def subscribe(self, topics: list[str], after: str | None = None) -> str:
        await self.ask(op="subscribe", topics=topics, after=after)
        message = await self.next()
        assert message["op"] == "subscribed", message
        assert message["topics"] == topics
        cursor: str = message["cursor"]
        return cursor

    async def event(self) -> dict[str, Any]:
        message = await self.next()
        assert message["op"] == "event", message
        event: dict[str, Any] = message["event"]
        return event


@asynccontextmanager
async def connected(platform: Platform, **options: Any) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(platform.ws_url, headers=HEADERS, **options) as socket:
            yield Client(socket)


def task_of(tenant: str = TENANT) -> Task:
    return make_task(tenant=tenant)


async def run_task(platform: Platform, tenant: str = TENANT, outputs: int = 2) -> str:
    """Submit a task and play its worker: queued, running, outputs, succeeded."""
    task = task_of(tenant)
    await platform.queue.submit([task])
    lease = await platform.lease()
    for number in range(outputs):
        await platform.emit(lease, str(number))
    await platform.succeed(lease)
    return task.id


async def test_each_topic_brings_what_it_names(platform: Platform) -> None:
    async with connected(platform) as tasks, connected(platform) as one, connected(platform) as rest:
        task = task_of()
        await tasks.subscribe(TASKS)
        await one.subscribe([f"task:{task.id}"])
        await rest.subscribe(["pools", "queue"])
        await platform.queue.submit([task, task_of(), task_of()])
        lease = await platform.lease()
        assert lease.task.id == task.id
        await platform.emit(lease, "hello")
        await platform.succeed(lease)
        await platform.events.publish(
            [
                Event(kind=EventKind.INSTANCE_CHANGED, at_ms=5, subject="cpu/i1", data={"state": "ready"}),
                Event(kind=EventKind.QUEUE_CHANGED, at_ms=6, subject="light"),
            ]
        )
        kinds = [(await tasks.event())["kind"] for _ in range(5)]
        assert kinds == ["task.queued"] * 3 + ["task.running", "task.succeeded"]
        events = [await one.event() for _ in range(4)]
        assert [event["kind"] for event in events] == ["task.queued", "task.running", "task.output", "task.succeeded"]
        assert [event["seq"] for event in events] == [1, 2, 3, 4]
        assert events[2]["data"] == {"text": "hello"}
        assert {event["subject"] for event in events} == {task.id}
        assert [(event["topic"], event["subject"]) for event in [await rest.event(), await rest.event()]] == [
            ("pools", "cpu/i1"),
            ("queue", "light"),
        ]


async def test_tenants_see_their_own_tasks_only(platform: Platform) -> None:
    async with connected(platform) as client:
        theirs = task_of(OTHER_TENANT)
        start = await client.subscribe(["tasks", f"task:{theirs.id}"])
        await platform.queue.submit([theirs])
        ours = task_of()
        await platform.queue.submit([ours])
        assert (await client.event())["subject"] == ours.id
    async with connected(platform) as client:
        await client.subscribe(["tasks", f"task:{theirs.id}"], after=start)
        assert (await client.event())["subject"] == ours.id


@pytest.mark.parametrize("partitions", [1, 3])
async def test_disconnects_lose_and_repeat_nothing(redis_url: str, tmp_path: Path, partitions: int) -> None:
    changes = {"redis": {"partitions": partitions}}
    async with front_of_house(redis_url, tmp_path, changes=changes) as platform:
        choice = random.Random(partitions)
        tasks = [task_of() for _ in range(150)]
        expected = {(task.id, "task.queued") for task in tasks} | {(task.id, "task.cancelled") for task in tasks}

        async def produce() -> None:
            for task in tasks:
                await platform.queue.submit([task])
                await platform.events.publish([Event(kind=EventKind.POOL_CHANGED, at_ms=1, subject=task.id)])
                await platform.queue.cancel(task.id, "done with it")

        got: list[tuple[str, str]] = []
        pools: list[str] = []
        cursor = await platform.events.head()
        async with asyncio.timeout(50), asyncio.TaskGroup() as group:
            group.create_task(produce())
            while len(got) < len(expected) or len(pools) < len(tasks):
                async with connected(platform) as client:
                    await client.subscribe(["tasks", "pools"], after=cursor)
                    for _ in range(choice.randint(0, 60)):
                        if len(got) >= len(expected) and len(pools) >= len(tasks):
                            break
                        event = await client.event()
                        cursor = event["cursor"]
                        if event["topic"] == "pools":
                            pools.append(event["subject"])
                        else:
                            got.append((event["subject"], event["kind"]))
                    assert client.socket._conn is not None
                    if choice.random() < 0.5 and (connection := client.socket._conn.transport) is not None:
                        # As when a laptop is shut: no close, no goodbye.
                        connection.abort()
        assert len(got) == len(set(got))
        assert set(got) == expected
        assert pools == [task.id for task in tasks]
        for task in tasks:
            assert got.index((task.id, "task.queued")) < got.index((task.id, "task.cancelled"))


async def test_topics_can_be_changed_without_a_break(platform: Platform) -> None:
    async with connected(platform) as client:
        await client.subscribe(["queue"])
        first = await run_task(platform, outputs=0)
        head = await platform.events.head()
        await eventually(lambda: platform.hub.cursor == head)
        cursor = await client.subscribe(TASKS)
        second = await run_task(platform, outputs=0)
        assert {(await client.event())["subject"] for _ in range(3)} == {second}
        await client.subscribe(TASKS, after=None)
        third = await run_task(platform, outputs=0)
        assert {(await client.event())["subject"] for _ in range(3)} == {third}
        assert first not in (second, third)
        assert cursor


async def test_a_history_that_was_trimmed_is_a_gap(redis_url: str, tmp_path: Path) -> None:
    async with front_of_house(redis_url, tmp_path, events_max=10) as platform:
        await run_task(platform)
        start = await platform.events.head()
        noise = [Event(kind=EventKind.QUEUE_CHANGED, at_ms=n, subject="light") for n in range(300)]
        await platform.events.publish(noise)
        async with connected(platform) as client:
            await client.subscribe(TASKS, after=start)
            gap = await client.next()
            assert gap["op"] == "gap"
            task_id = await run_task(platform, outputs=0)
            assert [(await client.event())["subject"] for _ in range(3)] == [task_id] * 3
        async with connected(platform) as client:
            await client.subscribe(TASKS, after=gap["cursor"])
            assert (await client.event())["subject"] == task_id


async def test_wrong_messages_are_answered_and_change_nothing(platform: Platform) -> None:
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"op": "subscribe", "topics": ["taks"]}, "unknown_topic", "taks"),
        ({"op": "subscribe", "topics": ["task:7"]}, "unknown_topic", "task:<id>"),
        ({"op": "subscribe", "topics": TASKS, "after": "yesterday"}, "bad_cursor", "yesterday"),
        ({"op": "subscribe", "topics": TASKS, "after": "1-0,1-0"}, "bad_cursor", "1-0,1-0"),
        ({"op": "subscribe", "topics": "tasks"}, "malformed", "array"),
        ({"op": "publish"}, "malformed", "op"),
        ({"op": "subscribe", "topics": TASKS, "from": 1}, "malformed", "from"),
    ]
    async with connected(platform) as client:
        await client.subscribe(TASKS)
        for message, code, said in wrong:
            await client.ask(**message)
            trouble = await client.next()
            assert (trouble["op"], trouble["code"]) == ("error", code)
            assert said in trouble["message"]
        await client.socket.send_str("{")
        assert (await client.next())["code"] == "malformed"
        task_id = await run_task(platform, outputs=0)
        assert (await client.event())["subject"] == task_id


async def test_an_outage_of_redis_closes_nothing_that_only_listens(platform: Platform) -> None:
    async with connected(platform) as client:
        await client.subscribe(TASKS)
        await platform.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        task_id = await run_task(platform, outputs=0)
        assert (await client.event())["subject"] == task_id
