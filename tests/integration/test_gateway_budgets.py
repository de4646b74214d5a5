"""A tenant's budget over HTTP: exact under concurrency, and a refusal that says what to do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp

from sophia.nouns.budget import TenantBudget
from sophia.nouns.errors import ErrorInfo
from sophia.nouns.task import AttemptOutcome
from sophia.queue.base import Settlement
from sophia.settings.model import TenantSettings
from tests.support.gateways import HEADERS, OTHER_HEADERS, front_of_house

CAPS = {
    "tenants": {"acme": TenantSettings(budget=TenantBudget(usd_per_day=1.0, tokens_per_month=1_000_000))},
}
DIME: dict[str, Any] = {"type": "light", "payload": {"prompt": "hi"}, "budget": {"max_usd": 0.1, "max_tokens": 100}}


async def post(session: aiohttp.ClientSession, body: Any, headers: dict[str, str]) -> tuple[int, Any, Any]:
    async with session.post("/v1/tasks", json=body, headers=headers) as answer:
        return answer.status, await answer.json(), answer.headers


async def test_submissions_at_once_are_admitted_up_to_the_budget(redis_url: str, tmp_path: Path) -> None:
    async with front_of_house(redis_url, tmp_path, changes=CAPS) as running:
        async with aiohttp.ClientSession(running.url) as session:
            answers = await asyncio.gather(*(post(session, DIME, HEADERS) for _ in range(200)))
            assert [status for status, _, _ in answers].count(202) == 10
            status, problem, headers = next(answer for answer in answers if answer[0] != 202)
            assert status == 402
            assert problem["code"] == "budget_exceeded"
            assert problem["field"] == "tenants.acme.budget.usd_per_day"
            assert "$0 are left" in problem["detail"]
            assert int(headers["Retry-After"]) > 0
            # Another tenant is not concerned, and what is cancelled is given back.
            assert (await post(session, DIME, OTHER_HEADERS))[0] == 202
            admitted = next(body for status, body, _ in answers if status == 202)
            async with session.post(f"/v1/tasks/{admitted['id']}/cancel", headers=HEADERS) as answer:
                assert answer.status == 200
            assert (await post(session, DIME, HEADERS))[0] == 202


async def test_a_task_without_caps_of_its_own_is_held_to_what_it_reserved(redis_url: str, tmp_path: Path) -> None:
    async with front_of_house(redis_url, tmp_path, changes=CAPS) as running:
        async with aiohttp.ClientSession(running.url, headers=HEADERS) as session:
            status, accepted, _ = await post(session, {"type": "light", "payload": {"prompt": "hi"}}, HEADERS)
            assert status == 202
            async with session.get(f"/v1/tasks/{accepted['id']}") as answer:
                task = await answer.json()
            assert task["budget"]["max_tokens"] > 0


async def test_a_dead_letter_without_room_in_the_budget_is_told_and_holds_up_no_other(
    redis_url: str, tmp_path: Path
) -> None:
    async with front_of_house(redis_url, tmp_path, changes=CAPS) as running:
        async with aiohttp.ClientSession(running.url, headers=HEADERS) as session:
            for usd in (0.1, 0.5):
                body = {**DIME, "budget": {**DIME["budget"], "max_usd": usd}}
                assert (await post(session, body, HEADERS))[0] == 202
                lease = await running.lease()
                dead = Settlement(lease=lease, outcome=AttemptOutcome.DEAD, error=ErrorInfo(code="x", message="x"))
                assert await running.work.settle([dead]) == [True]
            small, large = [record.task.id for record in reversed(await running.queue.dead("acme", 5))]
            for _ in range(6):
                assert (await post(session, DIME, HEADERS))[0] == 202
            async with session.post("/v1/dead-letters/redrive", json={"all": True}) as answer:
                outcome = await answer.json()
            assert (outcome["redriven"], outcome["more"]) == ([small], False)
            (left,) = outcome["not_redriven"]
            assert (left["id"], left["code"]) == (large, "budget_exceeded")
            assert "$0.4 are left, and this task needs $0.5; it resets at" in left["reason"]
            assert left["retry_after_s"] > 0
            async with session.post("/v1/dead-letters/redrive", json={"ids": [large]}) as answer:
                (left,) = (await answer.json())["not_redriven"]
            assert "$0.3 are left" in left["reason"]


async def test_a_tenant_sees_its_budgets(redis_url: str, tmp_path: Path) -> None:
    async with front_of_house(redis_url, tmp_path, changes=CAPS, operator=True) as running:
        async with aiohttp.ClientSession(running.url) as session:

            async def read(headers: dict[str, str], status: int = 200, **query: str) -> Any:
                async with session.get("/v1/budgets", headers=headers, params=query) as answer:
                    assert answer.status == status
                    return await answer.json()

            body = {**DIME, "budget": {"max_usd": 0.9, "max_tokens": 100}}
            assert (await post(session, body, HEADERS))[0] == 202
            await running.succeed(await running.lease())
            assert (await post(session, DIME, HEADERS))[0] == 202
            mine = await read(HEADERS)
            assert (mine["tenant"], mine["rebuilding"]) == ("acme", False)
            dollars, tokens = mine["budgets"]
            assert (dollars["name"], dollars["unit"], dollars["cap"]) == ("usd_per_day", "usd", 1.0)
            assert (dollars["spent"], dollars["reserved"], dollars["left"]) == (0.000002, 0.1, 0.899998)
            assert (tokens["name"], tokens["cap"], tokens["spent"], tokens["reserved"]) == (
                "tokens_per_month",
                1_000_000,
                8,
                100,
            )
            assert mine["at"][:10] == dollars["period"] < dollars["resets_at"][:10]
            assert dollars["resets_at"].endswith("T00:00:00Z")
            assert tokens["resets_at"].endswith("-01T00:00:00Z")
            assert "90% left of usd_per_day" in mine["summary"]
            # Another tenant has none, and may not look at what is not its own; an operator may.
            none = await read(OTHER_HEADERS)
            assert none["budgets"] == []
            assert "has no budget" in none["summary"]
            assert (await read(OTHER_HEADERS, 403, tenant="acme"))["code"] == "forbidden"
            assert (await read(HEADERS, tenant="globex"))["tenant"] == "globex"
            assert (await read(HEADERS, 422, tenant="No One"))["field"] == "tenant"
            # Lost, and not rebuilt yet: unknown, which is not zero.
            await running.client.call("flush", "FLUSHALL")
            lost = await read(HEADERS)
            assert lost["rebuilding"]
            assert "is being read from the ledger" in lost["summary"]
            assert [(row["cap"], row["spent"], row["left"]) for row in lost["budgets"]] == [
                (1.0, None, None),
                (1_000_000, None, None),
            ]
