"""What a new user gets wrong, and what the API says to it."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
from typing import Any

import aiohttp

from tests.support.gateways import HEADERS, Platform

LIGHT: dict[str, Any] = {"type": "light", "payload": {"prompt": "x"}}


async def refused(api: aiohttp.ClientSession, body: Any, status: int, path: str = "/v1/tasks") -> dict[str, Any]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with api.post(path, data=io.BytesIO(content), headers={"Content-Type": "application/json"}) as answer:
        problem: dict[str, Any] = await answer.json(content_type=None)
        assert answer.status == status, problem
        assert answer.content_type == "application/problem+json"
        assert (problem["status"], bool(problem["title"]), bool(problem["detail"])) == (status, True, True)
        return problem


WRONG_SUBMISSIONS: list[tuple[Any, str, str | None]] = [
    ({"payload": {"prompt": "x"}}, "type", "a string"),
    ({"type": "light"}, "payload", "an object"),
    ({"type": 7, "payload": {}}, "type", "a string"),
    ([], "(body)", "an object"),
    ({**LIGHT, "type": "lihgt"}, "type", "did you mean light?"),
    ({**LIGHT, "payload": {}}, "payload.prompt", "prompt"),
    ({**LIGHT, "payload": {"prompt": ""}}, "payload.prompt", None),
    ({**LIGHT, "payload": {"prompt": "x", "max_token": 3}}, "payload.max_token", "max_tokens"),
    ({"type": "batch_embedding", "payload": {"texts": ["a", 3]}}, "payload.texts[1]", None),
    ({"type": "batch_embedding", "payload": {"texts": []}}, "payload.texts", None),
    ({"type": "batch_embedding", "payload": {"texts": ["x"] * 20_001}}, "payload.texts", "at most 20000"),
    ({"type": "web_research", "payload": {"question": "q"}}, "payload.urls", "search"),
    ({"type": "web_research", "payload": {"question": "q", "urls": ["ftp://x"]}}, "payload.urls[0]", None),
    ({**LIGHT, "payload": {"prompt": "x", "model": "smollm2-135m"}}, "payload.model", "smollm2-135m-instruct"),
    ({**LIGHT, "payload": {"prompt": "x", "model": "all-minilm-l6-v2"}}, "payload.model", "known"),
    ({**LIGHT, "priorty": "high"}, "priorty", "did you mean priority?"),
    ({**LIGHT, "priority": "urgent"}, "priority", "critical"),
    ({**LIGHT, "tier": "qualty"}, "tier", "did you mean quality?"),
    ({**LIGHT, "budget": {"max_usd": -1}}, "budget.max_usd", "at least 0"),
    ({**LIGHT, "budget": {"usd": 1}}, "budget.usd", "max_usd"),
    ({**LIGHT, "max_attempts": 0}, "max_attempts", "at least 1"),
    ({**LIGHT, "run_at": "tomorrow"}, "run_at", "2026-01-31T12:00:00Z"),
    ({**LIGHT, "run_at": "2026-01-31T12:00:00"}, "run_at", "2026-01-31T12:00:00Z"),
    ({**LIGHT, "deadline_at": "2020-01-01T00:00:00Z"}, "deadline_at", "a time to come"),
    (
        {**LIGHT, "run_at": "2999-01-02T00:00:00Z", "deadline_at": "2999-01-01T00:00:00Z"},
        "deadline_at",
        "after `run_at`",
    ),
]


async def test_the_problem_names_the_field_and_what_would_do(api: aiohttp.ClientSession) -> None:
    for body, field, mend in WRONG_SUBMISSIONS:
        problem = await refused(api, body, 422)
        assert problem["field"] == field, problem
        assert mend is None or mend in problem["mend"], problem


MALFORMED = [
    (b"", "empty"),
    (b"{", "truncated"),
    (b'{"type": "light",\n "payload": {"prompt": "x"},}', "line 2, column 29"),
    (b"{'type': 'light'}", "line 1, column 2"),
    (b'{"type": "light", "payload": {"prompt": "\xff"}}', "UTF-8"),
    (b'{"type": "light", "payload": {"prompt": ' + b"[" * 200_000, "nested"),
    (b'{"type": "light", "payload": {"prompt": "x"}} trailing', "line 1"),
]


async def test_malformed_json_is_placed(api: aiohttp.ClientSession) -> None:
    for body, said in MALFORMED:
        problem = await refused(api, body, 400)
        assert problem["code"] == "malformed_json"
        assert said in problem["detail"], problem


async def test_batches_have_bounds(api: aiohttp.ClientSession) -> None:
    for size in (0, 1001):
        problem = await refused(api, {"tasks": [LIGHT] * size}, 422, "/v1/tasks/batch")
        assert problem["field"] == "tasks"


async def test_ten_megabytes_are_too_many(api: aiohttp.ClientSession) -> None:
    problem = await refused(api, b'{"type":"light","payload":{"prompt":"' + b"x" * 10_000_000 + b'"}}', 413)
    assert "8388608 bytes" in problem["detail"]
    # The connection and the gateway go on.
    async with api.post("/v1/tasks", json=LIGHT) as answer:
        assert answer.status == 202


async def test_a_body_without_a_length_is_cut_off_at_the_limit(platform: Platform) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", platform.gateway.port)
    head = f"POST /v1/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: {HEADERS['Authorization']}\r\n"
    writer.write(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    for _ in range(9):
        writer.write(chunk)
        await writer.drain()
    async with asyncio.timeout(5):
        assert b"413" in await reader.readline()
    writer.close()


WRONG_KEYS: list[dict[str, str]] = [
    {},
    {"Authorization": "Bearer wrong"},
    {"Authorization": "Bearer "},
    {"Authorization": "Basic a2V5LW9mLWFjbWU6"},
    {"Authorization": "Bearer ключ"},
]


async def test_a_key_is_needed(platform: Platform) -> None:
    paths = ("/v1/tasks", "/v1/queue", "/v1/pools", "/v1/task-types", "/v1/tasks/x/events")
    async with aiohttp.ClientSession(platform.url) as session:
        for headers, path in itertools.product(WRONG_KEYS, paths):
            async with session.get(path, headers=headers) as answer:
                assert answer.status == 401
                assert answer.headers["WWW-Authenticate"].startswith("Bearer")
                problem = await answer.json(content_type=None)
                assert (problem["code"], problem["field"]) == ("unauthorized", "Authorization")


WRONG_QUERIES = [
    ("/v1/tasks?state=done", "state"),
    ("/v1/tasks?type=heavy", "type"),
    ("/v1/tasks?stream=stream:hard", "stream"),
    ("/v1/tasks?limit=0", "limit"),
    ("/v1/tasks?limit=201", "limit"),
    ("/v1/tasks?limit=ten", "limit"),
    ("/v1/tasks?submitted_after=yesterday", "submitted_after"),
    ("/v1/tasks?cursor=nonsense", "cursor"),
]


async def test_wrong_queries_name_their_parameter(api: aiohttp.ClientSession) -> None:
    for query, field in WRONG_QUERIES:
        async with api.get(query) as answer:
            problem = await answer.json(content_type=None)
            assert (answer.status, problem["field"]) == (422, field)


async def test_unknown_tasks_paths_and_methods(api: aiohttp.ClientSession) -> None:
    for path in ("/v1/tasks/unknown", "/v1/tasks/" + "0" * 32, f"/v1/tasks/{'0' * 32}/events"):
        async with api.get(path) as answer:
            assert (answer.status, (await answer.json(content_type=None))["code"]) == (404, "not_found")
    async with api.get("/v1/taks") as answer:
        assert answer.status == 404
        assert "/v1/tasks" in (await answer.json(content_type=None))["mend"]
    async with api.delete("/v1/tasks") as answer:
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (405, "method_not_allowed")


async def test_an_idempotency_key_has_a_form(api: aiohttp.ClientSession) -> None:
    async with api.post("/v1/tasks", json=LIGHT, headers={"Idempotency-Key": "x" * 256}) as answer:
        assert (answer.status, (await answer.json(content_type=None))["field"]) == (422, "Idempotency-Key")
