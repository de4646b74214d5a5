"""The whole platform with its queue on a Redis Cluster of three masters.

`make test-long` runs it: it starts a platform of its own, which is too long for every run of all tests.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.clusters import RedisCluster
from tests.support.platform import Platform, three_free_ports
from tests.support.waiting import eventually

pytestmark = pytest.mark.long

SETTINGS = """
redis: {url: {env: REDIS_URL}, partitions: 6}
auth:
  api_keys:
    - {tenant: acme, key: {env: ACME_KEY}}
    - {tenant: globex, key: {env: GLOBEX_KEY}}
tenants:
  acme: {budget: {tokens_per_day: 100000}}
"""
KEYS = {"acme": "key-of-acme-0123456789", "globex": "key-of-globex-0123456789"}
TASKS: list[dict[str, Any]] = [
    {"type": "light", "payload": {"prompt": "Say hi.", "max_tokens": 4}},
    {"type": "batch_embedding", "payload": {"texts": ["a heron", "a bird"]}},
    {"type": "light", "payload": {"prompt": "Say bye.", "max_tokens": 4}, "priority": "high", "durability": "ledger"},
]


async def test_tasks_of_several_tenants_go_all_the_way(cluster_server: RedisCluster, tmp_path: Path) -> None:
    (tmp_path / "sophia.yaml").write_text(SETTINGS)
    environ = {"REDIS_URL": cluster_server.url, "ACME_KEY": KEYS["acme"], "GLOBEX_KEY": KEYS["globex"]}
    platform = Platform(tmp_path / "data", three_free_ports(), environ)
    try:
        await asyncio.to_thread(platform.start)
        assert "redis" not in platform.processes(), "the cluster is used, none is started beside it"
        await eventually(lambda: _budgets_are_known(platform), timeout_s=60)
        async with asyncio.TaskGroup() as group:
            for tenant in KEYS:
                group.create_task(_all_the_way(platform, tenant))
        (budget,) = (await _budgets(platform))["budgets"]
        assert budget["spent"] > 0
        assert budget["reserved"] == 0
        held = [sum("{" in key for key in await _keys(node)) for node in cluster_server.masters]
        assert sum(count > 0 for count in held) > 1, "partitions lie on several masters"
        assert await asyncio.to_thread(platform.stop) == 0
    finally:
        platform.kill_everything()


async def _budgets(platform: Platform) -> Any:
    async with aiohttp.ClientSession(platform.url, headers=_auth(KEYS["acme"])) as session:
        async with session.get("/v1/budgets") as answer:
            return await answer.json()


async def _budgets_are_known(platform: Platform) -> bool:
    return not (await _budgets(platform))["rebuilding"]


async def _all_the_way(platform: Platform, tenant: str) -> None:
    headers = _auth(KEYS[tenant])
    seen: dict[str, list[str]] = {}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=60)) as session:
        async with session.ws_connect(platform.websocket_url) as socket:
            await socket.send_json({"op": "subscribe", "topics": ["tasks"], "after": None})
            assert (await socket.receive_json(timeout=20))["op"] == "subscribed"
            ids = []
            for number, body in enumerate(TASKS):
                key = {"Idempotency-Key": f"order-{number}"}
                first, again = [await _submit(session, platform, body, key) for _ in range(2)]
                assert (again["id"], again["duplicate"]) == (first["id"], True)
                ids.append(first["id"])
            async with asyncio.timeout(180):
                while sum("task.succeeded" in kinds for kinds in seen.values()) < len(ids):
                    event = json.loads((await socket.receive()).data)["event"]
                    seen.setdefault(event["subject"], []).append(event["kind"])
        assert seen.keys() == set(ids), "a tenant sees its own tasks only"
        for task_id in ids:
            async with session.get(f"{platform.url}/v1/tasks/{task_id}") as answer:
                task = await answer.json()
            assert (task["state"], len(task["attempts"])) == ("succeeded", 1)
            assert task["result"]

        async def listed() -> bool:
            async with session.get(f"{platform.url}/v1/tasks?state=succeeded") as answer:
                return {task["id"] for task in (await answer.json())["tasks"]} == set(ids)

        await eventually(listed, timeout_s=30)


async def _submit(session: aiohttp.ClientSession, platform: Platform, body: Any, headers: dict[str, str]) -> Any:
    async with session.post(f"{platform.url}/v1/tasks", json=body, headers=headers) as answer:
        assert answer.status == 202, await answer.text()
        return await answer.json()


async def _keys(node: Any) -> list[str]:
    node.connect()
    try:
        return [key.decode() for key in await node.ask("KEYS", "sophia:*")]
    finally:
        await node.client.aclose()


def _auth(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
