"""The whole platform as a user starts it, with real models, while its processes are killed and stopped."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from soak.load import Load
from tests.support.platform import Platform, three_free_ports

ROLES = ("worker", "worker", "router", "gateway", "websocket", "model-server")
SERVERS = {"redis": "redis", "jetstream": "nats"}
TASKS_PER_S = 4.0
STOPPED_S = 25.0
"""Longer than a lease: the process wakes as a zombie."""

Say = Callable[[str], None]


async def run(seed: int, tasks: int, engine: str, every_s: float, folder: Path, say: Say) -> list[str]:
    """What is wrong afterwards."""
    platform = Platform(folder / "data", three_free_ports())
    config = folder / "sophia.yaml"
    config.write_text(f"queue: {{engine: {engine}}}\n")
    roles = (*ROLES, SERVERS[engine])
    try:
        await asyncio.to_thread(platform.start, "--config", str(config))
        # Long enough for every role's turn.
        load = Load(platform, tasks, over_s=max(every_s * (len(roles) + 1), tasks / TASKS_PER_S))
        async with asyncio.TaskGroup() as group:
            blows = group.create_task(strike_until(load, platform, roles, random.Random(seed), every_s, say))
            await load.run()
            load.over.set()
            await blows
        found = await load.problems()
        status = await asyncio.to_thread(platform.stop)
        if status != 0:
            found.append(f"the platform stopped with status {status}")
        return found
    finally:
        await asyncio.to_thread(platform.kill_everything)


async def strike_until(
    load: Load, platform: Platform, roles: Sequence[str], chance: random.Random, every_s: float, say: Say
) -> None:
    """Kill, or stop and wake, one process after the other while tasks are under way."""
    left = list(roles)
    chance.shuffle(left)
    while not await load.is_over(every_s):
        # Every role once before any is drawn again.
        role = left.pop() if left else chance.choice(roles)
        stop = role in ("worker", "router") and chance.random() < 0.4
        victims = platform.processes().get(role, [])
        if not victims:
            continue
        victim = victims[chance.randrange(len(victims))]
        if stop:
            say(f"SIGSTOP {role} {victim.pid}; {load.progress()}")
            victim.send_signal(signal.SIGSTOP)
            await load.is_over(STOPPED_S)
            if victim.is_running():
                victim.send_signal(signal.SIGCONT)
        else:
            say(f"SIGKILL {role} {victim.pid}; {load.progress()}")
            victim.kill()


def timed(out: Callable[[str], None]) -> Say:
    """Lines with the seconds since the start."""
    started_s = time.monotonic()
    return lambda words: out(f"{time.monotonic() - started_s:7.1f} s  {words}")
