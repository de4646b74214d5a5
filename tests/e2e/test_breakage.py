"""What users fear: every process killed under load, everything killed at once, a full disk, a port in use."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from tests.support.platform import Platform, clean_environment, three_free_ports
from tests.support.waiting import eventually, settle_for

FINAL = ("succeeded", "failed", "cancelled", "dead")
ROLES = ("worker", "redis", "router", "gateway", "websocket", "model-server")


def mixed_tasks(count: int) -> list[dict[str, Any]]:
    """Every type, most of them small."""
    kinds: list[dict[str, Any]] = [
        {"type": "light", "payload": {"prompt": "Say hi.", "max_tokens": 4}},
        {"type": "batch_embedding", "payload": {"texts": ["a heron", "a bird"]}},
        {"type": "batch_embedding", "payload": {"texts": [f"text {n}" for n in range(120)], "encoding": "base64"}},
    ]
    rare: list[dict[str, Any]] = [
        {"type": "long_planning", "payload": {"goal": "Tidy a desk", "max_steps": 1}},
        {"type": "code_generation", "payload": {"prompt": "print hello", "max_tokens": 60}},
    ]
    tasks = [(rare if number % 40 == 0 else kinds)[number % (2 if number % 40 == 0 else 3)] for number in range(count)]
    return [{**task, "max_attempts": 20, "labels": {"number": str(number)}} for number, task in enumerate(tasks)]


async def submit_one(session: aiohttp.ClientSession, platform: Platform, body: dict[str, Any]) -> str:
    """As a careful client does it: with an idempotency key, again and again until it is accepted."""
    key = {"Idempotency-Key": f"mixed-{body['labels']['number']}"}
    until = time.monotonic() + 120
    while True:
        try:
            async with session.post(f"{platform.url}/v1/tasks", json=body, headers=key) as answer:
                if answer.status in (200, 202):
                    task_id: str = (await answer.json())["id"]
                    return task_id
                assert answer.status in (500, 502, 503, 507), await answer.text()
        except (aiohttp.ClientError, TimeoutError):
            pass
        assert time.monotonic() < until, "not accepted in two minutes"
        await settle_for(0.2)


async def state_counts(session: aiohttp.ClientSession, platform: Platform, ids: list[str]) -> Counter[str]:
    states: Counter[str] = Counter()
    for task_id in ids:
        try:
            async with session.get(f"{platform.url}/v1/tasks/{task_id}") as answer:
                states[(await answer.json())["state"] if answer.status == 200 else f"http {answer.status}"] += 1
        except (aiohttp.ClientError, TimeoutError):
            states["unreachable"] += 1
    return states


def running(platform: Platform, role: str) -> list[psutil.Process]:
    return platform.processes().get(role, [])


def session_for(platform: Platform) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {platform.api_key}"}, timeout=aiohttp.ClientTimeout(total=20)
    )


async def test_any_one_process_killed_while_200_mixed_tasks_run(own_platform: Platform) -> None:
    own_platform.start()
    chance = random.Random(7)
    async with session_for(own_platform) as session:
        gate = asyncio.Semaphore(8)

        async def one(body: dict[str, Any]) -> str:
            async with gate:
                return await submit_one(session, own_platform, body)

        submitting = asyncio.gather(*(one(body) for body in mixed_tasks(200)))

        async def killer() -> list[str]:
            killed = []
            for role in ROLES:
                processes: list[psutil.Process] = await eventually(partial(running, own_platform, role), 60)
                victim = chance.choice(processes)
                victim.kill()
                killed.append(role)
                await settle_for(2.5)
            return killed

        killing = asyncio.create_task(killer())
        ids = await submitting
        assert await killing == list(ROLES)
        assert len(set(ids)) == 200

        async def all_done() -> bool:
            states = await state_counts(session, own_platform, ids)
            return sum(states[state] for state in FINAL) == len(ids)

        await eventually(all_done, 300)
        assert await state_counts(session, own_platform, ids) == {"succeeded": 200}
        for task_id in ids[::20]:
            async with session.get(f"{own_platform.url}/v1/tasks/{task_id}") as answer:
                task = await answer.json()
            outcomes = [attempt["outcome"] for attempt in task["attempts"]]
            assert outcomes.count("succeeded") == 1
    assert own_platform.stop() == 0
    assert own_platform.processes() == {}


async def test_everything_killed_at_once_and_started_again(own_platform: Platform) -> None:
    own_platform.start()
    async with session_for(own_platform) as session:
        ids = [await submit_one(session, own_platform, body) for body in mixed_tasks(30)]
    own_platform.kill_everything()
    started = time.monotonic()
    own_platform.start()
    assert time.monotonic() - started < 60
    async with session_for(own_platform) as session:

        async def all_succeeded() -> bool:
            return await state_counts(session, own_platform, ids) == {"succeeded": len(ids)}

        await eventually(all_succeeded, 120)

        # The ledger agrees, which was not told of everything when it was killed.
        async def listed() -> bool:
            async with session.get(f"{own_platform.url}/v1/tasks?state=succeeded&limit=200") as answer:
                return {task["id"] for task in (await answer.json())["tasks"]} >= set(ids)

        await eventually(listed, 30)
    assert own_platform.stop() == 0


async def test_a_killed_supervisor_takes_its_children_along(own_platform: Platform) -> None:
    own_platform.start()
    psutil.Process(own_platform.pid).kill()
    await eventually(lambda: own_platform.processes() == {}, 40)


def up(data_dir: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sophia.cli.main", "up", "--data-dir", str(data_dir), *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=clean_environment(),
        cwd=data_dir.parent,
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with little room."""
    place = tmp_path / "small"
    place.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], check=False, capture_output=True
        ).returncode
    ):
        pytest.skip("mounting a small file system needs root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


def test_no_space_for_the_data_folder_is_said_before_anything_starts(small_disk: Path) -> None:
    done = up(small_disk / "data", "--port", str(three_free_ports()))
    assert done.returncode != 0
    assert "free space" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_data_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    done = up(tmp_path / "file", "--port", str(three_free_ports()))
    assert done.returncode != 0
    assert str(tmp_path / "file") in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_config_key_is_named_with_the_nearest(tmp_path: Path) -> None:
    config = tmp_path / "sophia.yaml"
    config.write_text("queue:\n  lease_sec: 20\n")
    done = up(tmp_path / "data", "--config", str(config), "--port", str(three_free_ports()))
    assert done.returncode == 2
    assert "lease_sec" in done.stderr
    assert "lease_s" in done.stderr
