"""`make soak`: the whole platform under load while its processes are killed and stopped at random.

Prints its seed first; the same seed kills in the same order. Ends by itself, with status 1 when anything was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from soak.load import Load, Verdict
from tests.support.platform import Platform, three_free_ports

ROLES = ("worker", "worker", "redis", "router", "gateway", "websocket", "model-server")
STOPPED_S = 25.0
"""Longer than a lease: the process wakes as a zombie."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--tasks", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--every", type=float, default=4.0, help="seconds between two blows")
    parser.add_argument("--quick", action="store_true", help="300 tasks")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    tasks = 300 if options.quick else options.tasks
    print(f"seed {seed}: {tasks} tasks; repeat with SOAK='--seed {seed} --tasks {tasks}'", flush=True)
    with tempfile.TemporaryDirectory(prefix="sophia-soak-") as folder:
        platform = Platform(Path(folder) / "data", three_free_ports())
        platform.start()
        try:
            verdict = asyncio.run(run(platform, tasks, random.Random(seed), options.every))
        finally:
            platform.kill_everything()
    print(verdict.text)
    return 0 if verdict.good else 1


async def run(platform: Platform, tasks: int, chance: random.Random, every_s: float) -> Verdict:
    load = Load(platform, tasks)
    async with asyncio.TaskGroup() as group:
        blows = group.create_task(strike_until(load, platform, chance, every_s))
        await load.run()
        load.over.set()
        await blows
    return await load.verdict()


async def strike_until(load: Load, platform: Platform, chance: random.Random, every_s: float) -> None:
    """Kill, or stop and wake, one process after the other while tasks are under way."""
    started = time.monotonic()
    while not load.over.is_set():
        await asyncio.wait({asyncio.create_task(load.over.wait())}, timeout=every_s)
        if load.over.is_set():
            return
        role = chance.choice(ROLES)
        stop = role in ("worker", "router") and chance.random() < 0.4
        victims = platform.processes().get(role, [])
        if not victims:
            continue
        victim = victims[chance.randrange(len(victims))]
        at_s = time.monotonic() - started
        if stop:
            victim.send_signal(signal.SIGSTOP)
            print(f"{at_s:6.1f} s  stopped {role} {victim.pid} for {STOPPED_S:g} s; {load.progress()}", flush=True)
            await asyncio.wait({asyncio.create_task(load.over.wait())}, timeout=STOPPED_S)
            if victim.is_running():
                victim.send_signal(signal.SIGCONT)
        else:
            victim.kill()
            print(f"{at_s:6.1f} s  killed {role} {victim.pid}; {load.progress()}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
