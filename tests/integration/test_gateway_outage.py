"""The gateway while Redis is away, and after."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp

from sophia.embedded.redis_server import RedisServer
from tests.support.gateways import HEADERS, front_of_house

LIGHT: dict[str, Any] = {"type": "light", "payload": {"prompt": "x"}}


async def test_without_redis_requests_are_refused_clearly_and_what_was_accepted_is_kept(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    async with front_of_house(own_redis.url, tmp_path) as platform:
        async with aiohttp.ClientSession(platform.url, headers=HEADERS) as api, asyncio.timeout(45):

            async def submit(key: str) -> tuple[int, dict[str, Any]]:
                async with api.post("/v1/tasks", json=LIGHT, headers={"Idempotency-Key": key}) as answer:
                    return answer.status, await answer.json(content_type=None)

            _, done = await submit("done")
            await platform.succeed(await platform.lease())
            await platform.record()
            _, waiting = await submit("waiting")

            await own_redis.stop()
            status, problem = await submit("refused")
            assert (status, problem["code"]) == (503, "unavailable")
            assert "Redis" in problem["detail"]
            async with api.get("/ready") as answer:
                checks = {check["name"]: check["ok"] for check in (await answer.json())["checks"]}
            assert (checks["queue"], checks["ledger"]) == (False, True)
            async with api.get("/health") as answer:
                assert answer.status == 200
            # What the ledger knows to be final needs no queue; what is still on its way does.
            async with api.get(f"/v1/tasks/{done['id']}") as answer:
                assert (answer.status, (await answer.json())["state"]) == (200, "succeeded")
            async with api.get(f"/v1/tasks/{waiting['id']}") as answer:
                assert answer.status == 503

            await own_redis.start()
            async with api.get(f"/v1/tasks/{waiting['id']}") as answer:
                assert (answer.status, (await answer.json())["state"]) == (200, "queued")
            status, again = await submit("waiting")
            assert (status, again["id"], again["duplicate"]) == (202, waiting["id"], True)
            status, _ = await submit("refused")
            assert status == 202
