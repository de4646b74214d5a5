"""The whole platform with its queue on NATS JetStream."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.platform import Platform
from tests.support.waiting import eventually

TASKS: list[dict[str, Any]] = [
    {"type": "light", "payload": {"prompt": "Say hi.", "max_tokens": 4}},
    {"type": "batch_embedding", "payload": {"texts": ["a heron", "a bird"]}},
]


async def test_tasks_succeed_and_stay_through_the_servers_sudden_death(own_platform: Platform, tmp_path: Path) -> None:
    (tmp_path / "sophia.yaml").write_text("queue: {engine: jetstream}\n")
    own_platform.start()
    headers = {"Authorization": f"Bearer {own_platform.api_key}"}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=20)) as session:

        async def submit(body: dict[str, Any]) -> str:
            async with session.post(f"{own_platform.url}/v1/tasks", json=body) as answer:
                assert answer.status == 202, await answer.text()
                return str((await answer.json())["id"])

        async def succeeded(task_id: str) -> bool:
            async with session.get(f"{own_platform.url}/v1/tasks/{task_id}") as answer:
                return answer.status == 200 and (await answer.json())["state"] == "succeeded"

        ids = [await submit(body) for body in TASKS]
        for task_id in ids:
            await eventually(lambda i=task_id: succeeded(i), timeout_s=120)  # type: ignore[misc]
        ids += [await submit({**body, "max_attempts": 20}) for body in TASKS]
        (server,) = own_platform.processes()["nats"]
        server.kill()
        for task_id in ids:
            await eventually(lambda i=task_id: answered_and_succeeded(succeeded, i), timeout_s=120)  # type: ignore[misc]
        async with session.get(f"{own_platform.url}/v1/tasks/{ids[-1]}/events") as answer:
            kinds = [line.split(b": ")[1].strip().decode() async for line in answer.content if line[:6] == b"event:"]
        assert kinds[0] == "task.queued"
        assert kinds[-1] == "task.succeeded"
    assert own_platform.stop() == 0
    assert json.loads((tmp_path / "data" / "nats" / "nats.conf").read_text())["host"] == "127.0.0.1"


async def answered_and_succeeded(succeeded: Any, task_id: str) -> bool:
    try:
        return bool(await succeeded(task_id))
    except (aiohttp.ClientError, TimeoutError):
        return False
