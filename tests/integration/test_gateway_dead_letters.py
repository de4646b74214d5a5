"""Dead letters and set-aside entries over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from sophia.nouns.errors import ErrorInfo
from sophia.nouns.task import AttemptOutcome, Task
from sophia.queue.base import Settlement
from tests.support.gateways import HEADERS, OTHER_HEADERS, OTHER_TENANT, TENANT, Platform, front_of_house
from tests.support.tasks import make_task

ERROR = ErrorInfo(code="unavailable", message="the model never came")


async def bury(platform: Platform, count: int = 1, tenant: str = TENANT) -> list[Task]:
    tasks = [make_task(tenant=tenant) for _ in range(count)]
    await platform.queue.submit(tasks)
    leases = await platform.work.lease("worker-1", ["light"], count, 5.0)
    settled = [Settlement(lease=lease, outcome=AttemptOutcome.DEAD, error=ERROR) for lease in leases]
    assert all(await platform.work.settle(settled))
    return tasks


async def get(api: aiohttp.ClientSession, path: str, **params: Any) -> Any:
    async with api.get(path, params=params) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def redrive(api: aiohttp.ClientSession, body: Any, status: int = 200) -> Any:
    async with api.post("/v1/dead-letters/redrive", json=body) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


async def test_they_are_listed_newest_first_with_their_error(platform: Platform, api: aiohttp.ClientSession) -> None:
    tasks = await bury(platform, 3)
    await bury(platform, 1, OTHER_TENANT)
    page = await get(api, "/v1/dead-letters", limit=2)
    assert [row["id"] for row in page["tasks"]] == [tasks[2].id, tasks[1].id]
    assert page["more"]
    (row,) = {msgspec.json.encode(row["error"]) for row in page["tasks"]}
    assert msgspec.json.decode(row)["message"] == ERROR.message
    assert not (await get(api, "/v1/dead-letters"))["more"]
    assert (await get(api, "/v1/queue"))["dead"] == 4


async def test_named_ones_are_queued_again(platform: Platform, api: aiohttp.ClientSession) -> None:
    first, second = await bury(platform, 2)
    (foreign,) = await bury(platform, 1, OTHER_TENANT)
    answer = await redrive(api, {"ids": [first.id, first.id, foreign.id]})
    assert answer["redriven"] == [first.id]
    assert [left["id"] for left in answer["not_redriven"]] == [foreign.id]
    assert (await get(api, f"/v1/tasks/{first.id}"))["state"] == "queued"
    lease = await platform.lease()
    assert (lease.task.id, lease.attempts_counted) == (first.id, 1)
    await platform.succeed(lease)
    (left,) = (await redrive(api, {"ids": [first.id]}))["not_redriven"]
    assert left == {"id": first.id, "reason": "it is succeeded", "code": None, "retry_after_s": None}
    assert [row["id"] for row in (await get(api, "/v1/dead-letters"))["tasks"]] == [second.id]
    assert (await get(api, "/v1/queue"))["dead"] == 2


async def test_all_of_a_tenant_and_no_one_elses(platform: Platform, api: aiohttp.ClientSession) -> None:
    tasks = await bury(platform, 130)
    (foreign,) = await bury(platform, 1, OTHER_TENANT)
    answer = await redrive(api, {"all": True})
    assert sorted(answer["redriven"]) == sorted(task.id for task in tasks)
    assert not answer["more"]
    async with aiohttp.ClientSession(platform.url, headers=OTHER_HEADERS) as other:
        assert [row["id"] for row in (await get(other, "/v1/dead-letters"))["tasks"]] == [foreign.id]


async def test_what_a_redrive_may_ask(platform: Platform, api: aiohttp.ClientSession) -> None:
    (task,) = await bury(platform)
    for body, field in (
        ({}, "ids"),
        ({"ids": [task.id], "all": True}, "ids"),
        ({"ids": []}, "ids"),
        ({"ids": [task.id, "nonsense"]}, "ids[1]"),
        ({"ids": [task.id] * 1_001}, "ids"),
        ({"everything": True}, "everything"),
    ):
        assert (await redrive(api, body, 422))["field"] == field
    assert len((await get(api, "/v1/dead-letters"))["tasks"]) == 1


async def test_entries_that_cannot_be_decoded_are_shown_to_operators(redis_url: str, tmp_path: Path) -> None:
    async with front_of_house(redis_url, tmp_path, operator=True) as platform:
        stream = "sophia:{0}:stream:light:2"
        await platform.client.xadd(stream, {b"what": b"ever \xff"})
        await platform.client.xadd(stream, {"i": "no-such-task", "b": "{}"})
        assert await platform.work.lease("worker-1", ["light"], 4, 0) == []
        async with aiohttp.ClientSession(platform.url, headers=HEADERS) as operator:
            listed = await get(operator, "/v1/poison", limit=1)
            assert listed["total"] == 2
            assert [entry["content"] for entry in listed["entries"]] == ['["i","no-such-task","b","{}"]']
            assert [entry["stream"] for entry in listed["entries"]] == ["stream:light"]
            assert len((await get(operator, "/v1/poison"))["entries"]) == 2
            assert (await get(operator, "/v1/queue"))["poison"] == 2
        async with aiohttp.ClientSession(platform.url, headers=OTHER_HEADERS) as other:
            async with other.get("/v1/poison") as answer:
                assert answer.status == 403
                assert (await answer.json())["code"] == "forbidden"
