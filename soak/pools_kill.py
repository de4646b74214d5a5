"""A pool manager in a process of its own, killed with SIGKILL again and again while it launches and terminates machines
of an emulated cloud over real HTTP, with a real Redis and a real ledger on disk."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec

from sophia.embedded.redis_server import RedisServer
from sophia.emulated.cloud import Nature
from sophia.emulated.lambda_cloud import PREFIX, EmulatedLambda
from sophia.emulated.server import CloudServer
from sophia.nouns.pool import Instance
from sophia.store.sql import open_ledger

KILLS = 25
KEY = "soak"
MACHINES = 3
LIVES_S = (0.1, 2.0)
"""After its start-up, until it is killed."""
SETTLES_S = 60.0


async def run(seed: int, kills: int, folder: Path, say: Callable[[str], None]) -> list[str]:
    """What was wrong in the end."""
    nature = Nature(
        seed=seed,
        boot_s=(0.2, 1.5),
        stop_s=0.3,
        listed_after_end_s=0.5,
        rate_limits=False,
        no_capacity=0.1,
        throttled=0.02,
        fails=0.05,
        reply_lost=0.15,
    )
    cloud = EmulatedLambda(time.monotonic, nature, api_key=KEY)
    server = CloudServer(cloud.app)
    serving = asyncio.create_task(server.run())
    redis = RedisServer(folder / "redis")
    await redis.start()
    chance = random.Random(seed)
    try:
        for _ in range(kills):
            launched = len(cloud.fleet.machines)
            child = await _child(redis.url, folder, server.url + PREFIX, MACHINES)
            # Struck while it acts, not while it imports.
            await _until(lambda before=launched: len(cloud.fleet.machines) > before, 20.0)  # type: ignore[misc]
            await asyncio.sleep(chance.uniform(*LIVES_S))
            os.killpg(child.pid, signal.SIGKILL)
            await child.wait()
        child = await _child(redis.url, folder, server.url + PREFIX, 0)
        await _until(lambda: all(one.terminated_s is not None for one in cloud.fleet.machines.values()), SETTLES_S)
        await _until_recorded(folder)
        os.killpg(child.pid, signal.SIGKILL)
        await child.wait()
    finally:
        await redis.stop()
        server.stop()
        await serving
    return await _verify(cloud, folder, kills, say)


async def _child(url: str, folder: Path, cloud_url: str, most: int) -> asyncio.subprocess.Process:
    with (folder / "managers.log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "soak.pools_child", url, str(folder), cloud_url, KEY, str(most)),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


async def _until(condition: Callable[[], bool], limit_s: float) -> None:
    """Or until the time is over: what is wrong then shows in the end."""
    until_s = time.monotonic() + limit_s
    while not condition() and time.monotonic() < until_s:  # noqa: ASYNC110 - other processes change it
        await asyncio.sleep(0.05)


async def _instances(folder: Path) -> list[Instance]:
    ledger = open_ledger(None, folder)
    try:
        return await ledger.instances(live_only=False)
    finally:
        await ledger.close()


async def _until_recorded(folder: Path) -> None:
    until_s = time.monotonic() + SETTLES_S
    while time.monotonic() < until_s:
        if all(one.state == "terminated" for one in await _instances(folder)):
            return
        await asyncio.sleep(0.5)


async def _verify(cloud: EmulatedLambda, folder: Path, kills: int, say: Callable[[str], None]) -> list[str]:
    statement = cloud.fleet.statement()
    intents = {one.id: one for one in await _instances(folder)}
    now_ms = time.time_ns() // 1_000_000
    problems = [f"{one.name} was left behind" for one in cloud.fleet.machines.values() if one.terminated_s is None]
    problems += [f"{one.id} is on record as {one.state}" for one in intents.values() if one.state != "terminated"]
    twice = [name for name, count in Counter(line.name for line in statement.lines).items() if count > 1]
    problems += [f"{name} was launched twice" for name in twice]
    equal = 0
    for line in statement.lines:
        intent = intents.get(line.name)
        if intent is None:
            problems.append(f"{line.name} is not in the ledger")
            continue
        ours = intent.paid_minutes(now_ms)
        equal += ours == line.minutes
        if abs(ours - line.minutes) > 1:
            problems.append(f"{line.name}: the bill says {line.minutes} min, the ledger {ours} min")
    say(
        f"{kills} managers killed with SIGKILL, {len(statement.lines)} machines for {len(intents)} intents, "
        f"{equal} of {len(statement.lines)} bills equal to the minute"
    )
    if not problems:
        return []
    (folder / "intents.json").write_bytes(msgspec.json.format(msgspec.json.encode(list(intents.values()))))
    return problems
