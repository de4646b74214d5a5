"""A task's events over server-sent events: the log, then live, resumable, complete."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import msgspec
import pytest

from sophia.gateway import events_sse
from sophia.queue.base import Lease
from tests.support.gateways import HEADERS, Platform, front_of_house
from tests.support.waiting import eventually

LIGHT: dict[str, Any] = {"type": "light", "payload": {"prompt": "say hello"}}


class Sent(NamedTuple):
    id: int
    kind: str
    data: dict[str, Any]


class Stream:
    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer
        self.comments = 0

    async def next(self) -> Sent | None:
        """The next event; ``None`` at the end of the stream."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(10):
            while line := (await self._answer.content.readline()).decode():
                name, _, value = line.rstrip("\n").partition(": ")
                if line == "\n" and "data" in fields:
                    return Sent(int(fields["id"]), fields["event"], msgspec.json.decode(fields["data"]))
                self.comments += name == "" and bool(value)
                fields[name] = value
        return None

    async def rest(self) -> list[Sent]:
        events = []
        while (event := await self.next()) is not None:
            events.append(event)
        return events


@asynccontextmanager
async def following(api: aiohttp.ClientSession, task_id: str, query: str = "", **headers: str) -> AsyncIterator[Stream]:
    async with api.get(f"/v1/tasks/{task_id}/events{query}", headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "text/event-stream"
        yield Stream(answer)


async def started(platform: Platform, api: aiohttp.ClientSession) -> tuple[str, Lease]:
    async with api.post("/v1/tasks", json=LIGHT) as answer:
        task_id = (await answer.json())["id"]
    return task_id, await platform.lease()


async def test_replay_then_live_until_the_final_event(platform: Platform, api: aiohttp.ClientSession) -> None:
    task_id, lease = await started(platform, api)
    await platform.emit(lease, "before")
    async with following(api, task_id) as stream:
        for kind in ("task.queued", "task.running", "task.output"):
            event = await stream.next()
            assert event is not None
            assert event.kind == kind
        await platform.emit(lease, "after")
        await platform.succeed(lease)
        rest = await stream.rest()
    assert [(event.id, event.kind) for event in rest] == [(4, "task.output"), (5, "task.succeeded")]
    assert rest[0].data["data"] == {"text": "after"}
    assert (rest[0].data["cursor"], rest[0].data["subject"], rest[0].data["topic"]) == ("4", task_id, "tasks")


async def test_resume_by_position_in_query_or_header(platform: Platform, api: aiohttp.ClientSession) -> None:
    task_id, lease = await started(platform, api)
    await platform.emit(lease, "x")
    await platform.succeed(lease)
    async with following(api, task_id, "?after=2") as stream:
        assert [event.id for event in await stream.rest()] == [3, 4]
    async with following(api, task_id, **{"Last-Event-ID": "3"}) as stream:
        assert [event.id for event in await stream.rest()] == [4]
    async with following(api, task_id, "?after=1", **{"Last-Event-ID": "3"}) as stream:
        assert [event.id for event in await stream.rest()] == [2, 3, 4]
    async with api.get(f"/v1/tasks/{task_id}/events?after=4") as answer:
        assert answer.status == 204
    async with api.get(f"/v1/tasks/{task_id}/events?after=x") as answer:
        assert (answer.status, (await answer.json(content_type=None))["field"]) == (422, "after")


async def test_a_log_that_was_let_go_still_tells_the_end(platform: Platform, api: aiohttp.ClientSession) -> None:
    task_id, lease = await started(platform, api)
    await platform.succeed(lease)
    await platform.record()
    await platform.client.flushall()
    async with following(api, task_id) as stream:
        assert [event.kind for event in await stream.rest()] == ["task.succeeded"]


async def test_nothing_is_missed_or_repeated_over_random_disconnects(
    platform: Platform, api: aiohttp.ClientSession
) -> None:
    task_id, lease = await started(platform, api)
    choice = random.Random(7)

    async def work() -> None:
        for number in range(300):
            await platform.emit(lease, str(number))
        await platform.succeed(lease)

    seen: list[Sent] = []
    async with asyncio.timeout(50), asyncio.TaskGroup() as group:
        group.create_task(work())
        while not seen or seen[-1].kind != "task.succeeded":
            async with following(api, task_id, f"?after={seen[-1].id if seen else 0}") as stream:
                for _ in range(choice.randint(0, 40)):
                    event = await stream.next()
                    if event is None:
                        break
                    seen.append(event)
    log = await platform.events.task_log(task_id, 0)
    assert [event.id for event in seen] == [event.seq for event in log] == list(range(1, 304))
    assert [event.data["data"]["text"] for event in seen if event.kind == "task.output"] == list(map(str, range(300)))


async def test_a_quiet_stream_is_kept_alive(
    platform: Platform, api: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_sse, "HEARTBEAT_S", 0.05)
    task_id, lease = await started(platform, api)
    async with following(api, task_id, "?after=2") as stream:
        reading = asyncio.create_task(stream.next())
        await eventually(lambda: stream.comments >= 2)
        await platform.succeed(lease)
        event = await reading
    assert event is not None
    assert event.kind == "task.succeeded"


async def test_a_client_that_leaves_is_forgotten(platform: Platform, api: aiohttp.ClientSession) -> None:
    task_id, _ = await started(platform, api)
    async with following(api, task_id):
        await eventually(lambda: platform.followers == 1)
    await eventually(lambda: platform.followers == 0, timeout_s=2)


async def test_stopping_the_gateway_ends_open_streams_at_once(redis_url: str, tmp_path: Path) -> None:
    async with asyncio.timeout(15), aiohttp.ClientSession(headers=HEADERS) as session:
        async with front_of_house(redis_url, tmp_path) as platform:
            async with session.post(f"{platform.url}/v1/tasks", json=LIGHT) as answer:
                task_id = (await answer.json())["id"]
            answer = await session.get(f"{platform.url}/v1/tasks/{task_id}/events")
            stream = Stream(answer)
            assert await stream.next() is not None
        assert await stream.next() is None
        answer.release()
