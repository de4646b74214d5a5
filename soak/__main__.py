"""`make soak`: everything that can break is broken under load; nothing may be lost, nothing done twice.

Prints its seed first; the same seed submits the same tasks and breaks things in the same order. Ends by itself, with
status 1 when anything is wrong, and then keeps its folder of logs.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from pathlib import Path

from soak import platform_run, pools_run, queue_run
from soak.engines import ENGINES

SCENARIOS = ("queue", "platform", "pools")
QUICK_TASKS, QUICK_S = 1_000, 40.0
QUICK_PLATFORM_TASKS = 60
QUICK_POOLS = 40


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=10_000, help="of the queue's scenario  [default: 10000]")
    parser.add_argument("--platform-tasks", type=int, default=400, help="of the platform's  [default: 400]")
    parser.add_argument("--minutes", type=float, default=6.0, help="over which tasks are submitted  [default: 6]")
    parser.add_argument("--seed", type=int, help="[default: a new one]")
    parser.add_argument("--engine", choices=sorted(ENGINES), default="redis")
    parser.add_argument("--scenario", choices=SCENARIOS, action="append", help="[default: all]")
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"{QUICK_TASKS} tasks, {QUICK_PLATFORM_TASKS} of the platform, 40 s",
    )
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    if options.quick:
        options.tasks, options.minutes, options.platform_tasks = QUICK_TASKS, QUICK_S / 60, QUICK_PLATFORM_TASKS
    print(f"seed {seed}; again: python -m soak --seed {seed} {_arguments(options)}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="sophia-soak-"))
    found: list[str] = []
    for scenario in options.scenario or SCENARIOS:
        found += [f"{scenario}: {each}" for each in _run(scenario, seed, options, folder / scenario)]
    for each in found:
        print(f"WRONG  {each}")
    if found:
        print(f"{len(found)} findings with seed {seed}; logs and data are in {folder}")
        return 1
    shutil.rmtree(folder)
    print(f"nothing lost, nothing done twice (seed {seed})")
    return 0


def _run(scenario: str, seed: int, options: argparse.Namespace, folder: Path) -> list[str]:
    folder.mkdir()
    say = platform_run.timed(lambda line: print(f"{scenario:8} {line}", flush=True))
    try:
        if scenario == "pools":
            return pools_run.run(seed, QUICK_POOLS if options.quick else pools_run.SCENARIOS, folder, say)
        if scenario == "platform":
            every_s = 3.0 if options.quick else 5.0
            return asyncio.run(platform_run.run(seed, options.platform_tasks, every_s, folder, say))
        orders = queue_run.Orders(
            seed=seed, tasks=options.tasks, over_s=options.minutes * 60, engine=options.engine, folder=folder
        )
        outcome = asyncio.run(queue_run.run(orders, say))
    except Exception as error:  # noqa: BLE001 - whatever ended it, the seed and the logs are what helps
        return [f"the run broke off: {_words(error)}"]
    for line in outcome.summary:
        say(line)
    return outcome.problems


def _words(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_words(each) for each in error.exceptions)
    return f"{type(error).__name__}: {error}"


def _arguments(options: argparse.Namespace) -> str:
    words = ["--quick"] if options.quick else [f"--tasks {options.tasks}", f"--minutes {options.minutes:g}"]
    words += [f"--engine {options.engine}"] if options.engine != "redis" else []
    return " ".join([*words, *(f"--scenario {each}" for each in options.scenario or ())])


if __name__ == "__main__":
    sys.exit(main())
