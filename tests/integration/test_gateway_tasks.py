"""Tasks over HTTP, as a program uses them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from tests.support.gateways import HEADERS, OTHER_HEADERS, Platform
from tests.support.waiting import eventually

LIGHT: dict[str, Any] = {"type": "light", "payload": {"prompt": "say hello"}}


async def submit(api: aiohttp.ClientSession, body: Any = LIGHT, **headers: str) -> dict[str, Any]:
    async with api.post("/v1/tasks", json=body, headers=headers) as answer:
        assert answer.status == 202, await answer.text()
        accepted: dict[str, Any] = await answer.json()
        assert answer.headers["Location"] == f"/v1/tasks/{accepted['id']}"
        return accepted


async def get(
    api: aiohttp.ClientSession, path: str, status: int = 200, headers: Mapping[str, str] | None = None
) -> Any:
    async with api.get(path, headers=headers) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


async def test_a_task_from_submission_to_result(platform: Platform, api: aiohttp.ClientSession) -> None:
    accepted = await submit(api, {**LIGHT, "priority": "high", "labels": {"team": "a"}})
    assert accepted["state"] == "queued"
    assert accepted["duplicate"] is False
    assert accepted["route"] == {"stream": "stream:light", "target": "cpu", "reason": "no other rule applies"}
    path = f"/v1/tasks/{accepted['id']}"
    task = await get(api, path)
    assert (task["state"], task["priority"], task["title"]) == ("queued", "high", "say hello")
    assert task["labels"] == {"team": "a"}
    assert task["payload"] == LIGHT["payload"]
    lease = await platform.lease()
    assert (await get(api, path))["state"] == "running"
    await platform.succeed(lease, {"text": "hello"})
    task = await get(api, path)
    assert (task["state"], task["result"]) == ("succeeded", {"text": "hello"})
    assert task["usage"]["output_tokens"] == 5
    assert task["usage"]["cost_usd"] == pytest.approx(2e-6)
    assert [attempt["outcome"] for attempt in task["attempts"]] == ["succeeded"]
    assert datetime.fromisoformat(task["finished_at"]) >= datetime.fromisoformat(task["submitted_at"])


ROUTES: list[tuple[dict[str, Any], str, str]] = [
    ({"type": "long_planning", "payload": {"goal": "x"}}, "stream:planning", "gpu"),
    ({"type": "light", "payload": {"prompt": "x"}, "tier": "quality"}, "stream:planning", "gpu"),
    ({"type": "code_generation", "payload": {"prompt": "x", "max_tokens": 4001}}, "stream:coding", "gpu"),
    ({"type": "batch_embedding", "payload": {"texts": ["x"] * 101}}, "stream:embedding", "gpu"),
    ({"type": "web_research", "payload": {"question": "x", "urls": ["http://a/"]}}, "stream:research", "cpu"),
    ({"type": "batch_embedding", "payload": {"texts": ["x"] * 100}}, "stream:light", "cpu"),
]


async def test_the_answer_names_the_route_and_its_reason(api: aiohttp.ClientSession) -> None:
    for body, stream, target in ROUTES:
        route = (await submit(api, body))["route"]
        assert (route["stream"], route["target"]) == (stream, target)
        assert route["reason"]


async def test_a_long_poll_answers_when_the_task_ends(platform: Platform, api: aiohttp.ClientSession) -> None:
    path = f"/v1/tasks/{(await submit(api))['id']}"
    lease = await platform.lease()
    poll = asyncio.create_task(get(api, path + "?wait=30"))
    await eventually(lambda: platform.followers == 1)
    async with asyncio.timeout(5):
        await platform.succeed(lease)
        assert (await poll)["state"] == "succeeded"


async def test_a_long_poll_that_runs_out_tells_the_state_then(api: aiohttp.ClientSession) -> None:
    path = f"/v1/tasks/{(await submit(api))['id']}"
    assert (await get(api, path + "?wait=0.2"))["state"] == "queued"


async def test_a_client_that_stops_waiting_leaves_nothing_behind(
    platform: Platform, api: aiohttp.ClientSession
) -> None:
    path = f"/v1/tasks/{(await submit(api))['id']}"
    poll = asyncio.create_task(get(api, path + "?wait=60"))
    await eventually(lambda: platform.followers == 1)
    poll.cancel()
    await eventually(lambda: platform.followers == 0, timeout_s=2)


async def test_other_tenants_see_nothing(platform: Platform, api: aiohttp.ClientSession) -> None:
    task_id = (await submit(api))["id"]
    await platform.record()
    for path in (f"/v1/tasks/{task_id}", f"/v1/tasks/{task_id}/events", f"/v1/tasks/{task_id}/explain"):
        assert (await get(api, path, 404, OTHER_HEADERS))["code"] == "not_found"
    async with api.post(f"/v1/tasks/{task_id}/cancel", headers=OTHER_HEADERS) as answer:
        assert answer.status == 404
    assert (await get(api, "/v1/tasks", 200, OTHER_HEADERS))["tasks"] == []
    assert len((await get(api, "/v1/tasks"))["tasks"]) == 1


async def test_the_same_idempotency_key_gives_the_same_task(api: aiohttp.ClientSession) -> None:
    first = await submit(api, **{"Idempotency-Key": "k1"})
    again = await submit(api, {"payload": {"prompt": "say hello"}, "type": "light"}, **{"Idempotency-Key": "k1"})
    assert (again["id"], again["duplicate"]) == (first["id"], True)
    other = await submit(api, **{"Idempotency-Key": "k1", **OTHER_HEADERS})
    assert other["id"] != first["id"]
    body = {**LIGHT, "payload": {"prompt": "something else"}}
    async with api.post("/v1/tasks", json=body, headers={"Idempotency-Key": "k1"}) as answer:
        assert answer.status == 409
        problem = await answer.json()
    assert (problem["code"], problem["field"]) == ("conflict", "Idempotency-Key")
    assert first["id"] in problem["detail"]


async def test_a_batch_is_accepted_as_a_whole_or_not_at_all(platform: Platform, api: aiohttp.ClientSession) -> None:
    good = {"tasks": [LIGHT, {"type": "long_planning", "payload": {"goal": "x"}}]}
    async with api.post("/v1/tasks/batch", json=good, headers={"Idempotency-Key": "b"}) as answer:
        assert answer.status == 202
        tasks = (await answer.json())["tasks"]
    assert [task["route"]["stream"] for task in tasks] == ["stream:light", "stream:planning"]
    async with api.post("/v1/tasks/batch", json=good, headers={"Idempotency-Key": "b"}) as answer:
        assert [task["id"] for task in (await answer.json())["tasks"]] == [task["id"] for task in tasks]
    bad = {"tasks": [LIGHT, {"type": "light", "payload": {}}]}
    async with api.post("/v1/tasks/batch", json=bad) as answer:
        assert answer.status == 422
        assert (await answer.json())["field"] == "tasks[1].payload.prompt"
    await platform.record()
    assert len((await get(api, "/v1/tasks"))["tasks"]) == 2


async def test_the_list_filters_and_pages(platform: Platform, api: aiohttp.ClientSession) -> None:
    ids = [(await submit(api))["id"] for _ in range(3)]
    plan = (await submit(api, {"type": "long_planning", "payload": {"goal": "a goal"}}))["id"]
    await platform.succeed(await platform.lease())
    await platform.record()
    page = await get(api, "/v1/tasks?limit=3")
    assert [task["id"] for task in page["tasks"]] == [plan, ids[2], ids[1]]
    rest = await get(api, f"/v1/tasks?limit=3&cursor={page['next_cursor']}")
    assert [task["id"] for task in rest["tasks"]] == [ids[0]]
    assert rest["next_cursor"] is None
    for query, expected in [
        ("state=succeeded", {ids[0]}),
        ("state=succeeded,queued&state=running", {*ids, plan}),
        ("type=long_planning", {plan}),
        ("stream=stream:planning", {plan}),
        ("stream=light", set(ids)),
        ("submitted_after=2999-01-01T00:00:00Z", set()),
        ("submitted_before=2999-01-01T00:00:00%2B02:00", {*ids, plan}),
    ]:
        assert {task["id"] for task in (await get(api, f"/v1/tasks?{query}"))["tasks"]} == expected, query


async def test_what_the_queue_let_go_is_read_from_the_ledger(platform: Platform, api: aiohttp.ClientSession) -> None:
    task_id = (await submit(api))["id"]
    await platform.succeed(await platform.lease(), {"text": "kept"})
    await platform.record()
    await platform.client.flushall()
    task = await get(api, f"/v1/tasks/{task_id}")
    assert (task["state"], task["result"]) == ("succeeded", {"text": "kept"})


async def test_cancel_what_waits_and_ask_what_runs(platform: Platform, api: aiohttp.ClientSession) -> None:
    waiting = (await submit(api))["id"]
    async with api.post(f"/v1/tasks/{waiting}/cancel", json={"reason": "changed my mind"}) as answer:
        task = await answer.json()
    assert (answer.status, task["state"]) == (200, "cancelled")
    (_, event) = await platform.events.task_log(waiting, 0)
    assert event.data == {"reason": "changed my mind"}
    running = (await submit(api))["id"]
    await platform.lease()
    async with api.post(f"/v1/tasks/{running}/cancel") as answer:
        task = await answer.json()
    assert (task["state"], task["cancel_requested"]) == ("running", True)
    async with api.post(f"/v1/tasks/{waiting}/cancel") as answer:
        assert (answer.status, (await answer.json())["state"]) == (200, "cancelled")


async def test_times_are_kept(api: aiohttp.ClientSession) -> None:
    due = datetime.now(UTC) + timedelta(hours=1)
    body = {**LIGHT, "run_at": due.isoformat(), "deadline_at": (due + timedelta(hours=1)).isoformat()}
    accepted = await submit(api, body)
    assert accepted["state"] == "scheduled"
    task = await get(api, f"/v1/tasks/{accepted['id']}")
    assert abs(datetime.fromisoformat(task["due_at"]) - due) < timedelta(milliseconds=1)
    answer = await get(api, f"/v1/tasks/{accepted['id']}/explain")
    assert answer["expected_start_at"] == task["due_at"]


async def test_explain_a_task_that_waits(platform: Platform, api: aiohttp.ClientSession) -> None:
    await submit(api)
    task_id = (await submit(api))["id"]
    answer = await get(api, f"/v1/tasks/{task_id}/explain")
    assert (answer["state"], answer["position"]) == ("queued", 1)
    assert answer["expected_start_at"] is None
    assert "pool manager" in answer["basis"]
    assert "1 task ahead of it" in answer["summary"]


async def test_queue_and_pools(platform: Platform, api: aiohttp.ClientSession) -> None:
    await submit(api)
    queue = await get(api, "/v1/queue")
    assert queue["waiting"] == 1
    (row,) = [row for row in queue["streams"] if row["stream"] == "stream:light" and row["priority"] == "normal"]
    assert (row["waiting"], row["running"], row["groups"]) == (1, 0, ["workers"])
    assert await get(api, "/v1/pools") == {"pools": [], "at": None}
    await platform.events.put_snapshot("pools", POOLS)
    (pool,) = (await get(api, "/v1/pools"))["pools"]
    assert pool["streams"] == ["stream:light"]
    assert [instance["state"] for instance in pool["instances"]] == ["working", "ready"]


POOLS = b"""{"at_ms": 1767225600000, "pools": [{"name": "cpu-workers", "provider": "local", "streams": ["light"],
 "min": 0, "max": 2, "idle_timeout_s": 60, "desired": 2, "reason": "two wait", "waiting": 1, "running": 1, "instances": [
 {"id": "i1", "pool": "cpu-workers", "state": "ready", "requested_at_ms": 1767225600000, "busy": 1, "slots": 4},
 {"id": "i2", "pool": "cpu-workers", "state": "ready", "requested_at_ms": 1767225600000, "busy": 0, "slots": 4}]}]}"""


async def test_task_types_have_their_schemas(api: aiohttp.ClientSession) -> None:
    types = {entry["type"]: entry for entry in (await get(api, "/v1/task-types"))["types"]}
    assert set(types) == {"long_planning", "code_generation", "batch_embedding", "web_research", "light"}
    schema = types["light"]["payload_schema"]
    assert "prompt" in str(schema)


async def test_ready_names_what_is_missing(platform: Platform) -> None:
    async with aiohttp.ClientSession(platform.url) as anyone:
        assert await get(anyone, "/health") == {"status": "ok", "version": "9.9.9"}
        checks = {check["name"]: check for check in (await get(anyone, "/ready", 503))["checks"]}
        assert (checks["queue"]["ok"], checks["ledger"]["ok"], checks["models"]["ok"]) == (True, True, False)
        assert "providers" in checks["models"]["detail"]
        config = await get(anyone, "/config.json")
        assert config["websocket_url"].startswith("ws://127.0.0.1:")


async def test_requests_are_timed_by_route(platform: Platform, api: aiohttp.ClientSession) -> None:
    await get(api, "/v1/tasks/" + "0" * 32, 404)
    labels = {"method": "GET", "route": "/v1/tasks/{task_id}", "status": "404"}
    assert platform.registry.get_sample_value("http_request_duration_seconds_count", labels) == 1
    assert HEADERS["Authorization"] not in str(list(platform.registry.collect()))
