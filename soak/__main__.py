"""`make soak`: everything that can break is broken under load; nothing may be lost, nothing done twice.

Prints its seed first; the same seed submits the same tasks and breaks things in the same order. Ends by itself, with
status 1 when anything is wrong, and then keeps its folder of logs.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from soak import fuzz_run, kills_run, platform_run, pools_run, queue_run, wipe_run
from soak.engines import ENGINES
from soak.stage import Orders, Outcome, Say

QUEUE_SCENARIOS: dict[str, Callable[[Orders, Say], Awaitable[Outcome]]] = {
    "queue": queue_run.run,
    "wipe": wipe_run.run,
    "kills": kills_run.run,
}
SCENARIOS = (*QUEUE_SCENARIOS, "platform", "pools", "fuzz")
QUICK_TASKS, QUICK_S = 1_000, 40.0
QUICK_PLATFORM_TASKS = 60
QUICK_POOLS = 40
FUZZ_CASES, QUICK_FUZZ_CASES = 100, 10
SHORT_TASKS, SHORT_S = 300, 30.0
WIPE_TASKS, WIPE_S = 1_000, 12.0
KILLS_TASKS, KILLS_S = 2_000, 40.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=10_000, help="of the queue's scenario  [default: 10000]")
    parser.add_argument("--platform-tasks", type=int, default=400, help="of the platform's  [default: 400]")
    parser.add_argument("--minutes", type=float, default=6.0, help="over which tasks are submitted  [default: 6]")
    parser.add_argument("--seed", type=int, help="[default: a new one]")
    parser.add_argument("--engine", choices=sorted(ENGINES), help="[default: one after the other]")
    parser.add_argument("--scenario", choices=SCENARIOS, action="append", help="[default: all]")
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"{QUICK_TASKS} tasks in {QUICK_S:g} s, {QUICK_PLATFORM_TASKS} of the platform",
    )
    parser.add_argument(
        "--short",
        action="store_true",
        help=f"only the queue's scenario, {SHORT_TASKS} tasks, one fault of each kind, all engines at once",
    )
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    if options.quick:
        options.tasks, options.minutes, options.platform_tasks = QUICK_TASKS, QUICK_S / 60, QUICK_PLATFORM_TASKS
    if options.short:
        options.tasks, options.minutes, options.scenario = SHORT_TASKS, SHORT_S / 60, ["queue"]
    print(f'seed {seed}; again: make soak SOAK="--seed {seed} {_arguments(options)}"', flush=True)
    folder = Path(tempfile.mkdtemp(prefix="sophia-soak-"))
    logging.basicConfig(filename=folder / "soak.log", level=logging.INFO)
    found = _run_all(seed, options, folder)
    for each in found:
        print(f"WRONG  {each}")
    if found:
        print(f"{len(found)} findings with seed {seed}; logs and data are in {folder}")
        return 1
    shutil.rmtree(folder)
    print(f"nothing lost, nothing done twice (seed {seed})")
    return 0


def _run_all(seed: int, options: argparse.Namespace, folder: Path) -> list[str]:
    engines = [options.engine] if options.engine else sorted(ENGINES, reverse=True)
    if options.short:
        return asyncio.run(_at_once("queue", engines, seed, options, folder))
    found: list[str] = []
    for scenario in options.scenario or SCENARIOS:
        if scenario in QUEUE_SCENARIOS:
            for engine in engines:
                found += asyncio.run(_run_queue(scenario, engine, seed, options, folder))
        elif scenario == "platform":
            for engine in engines:
                found += asyncio.run(_run_platform(engine, seed, options, folder))
        elif scenario == "fuzz":
            found += _run_fuzz(seed, options, folder)
        else:
            found += _run_pools(seed, options, folder)
    return found


async def _at_once(
    scenario: str, engines: Sequence[str], seed: int, options: argparse.Namespace, folder: Path
) -> list[str]:
    runs = [_run_queue(scenario, engine, seed, options, folder) for engine in engines]
    return [each for found in await asyncio.gather(*runs) for each in found]


async def _run_queue(scenario: str, engine: str, seed: int, options: argparse.Namespace, folder: Path) -> list[str]:
    name = f"{scenario} {engine}"
    place, say = _prepared(name, folder)
    try:
        outcome = await QUEUE_SCENARIOS[scenario](_orders(scenario, engine, seed, options, place), say)
    except Exception as error:  # noqa: BLE001 - whatever ended it, the seed and the logs are what helps
        return _found(name, [f"the run broke off: {_words(error)}"], say)
    for line in outcome.summary:
        say(line)
    return _found(name, outcome.problems, say)


async def _run_platform(engine: str, seed: int, options: argparse.Namespace, folder: Path) -> list[str]:
    name = f"platform {engine}"
    place, say = _prepared(name, folder)
    every_s = 3.0 if options.quick else 5.0
    try:
        found = await platform_run.run(seed, options.platform_tasks, engine, every_s, place, say)
    except Exception as error:  # noqa: BLE001 - as above
        found = [f"the run broke off: {_words(error)}"]
    return _found(name, found, say)


def _run_pools(seed: int, options: argparse.Namespace, folder: Path) -> list[str]:
    place, say = _prepared("pools", folder)
    try:
        found = pools_run.run(seed, QUICK_POOLS if options.quick else pools_run.SCENARIOS, place, say)
    except Exception as error:  # noqa: BLE001 - as above
        found = [f"the run broke off: {_words(error)}"]
    return _found("pools", found, say)


def _run_fuzz(seed: int, options: argparse.Namespace, folder: Path) -> list[str]:
    place, say = _prepared("fuzz", folder)
    cases = QUICK_FUZZ_CASES if options.quick else FUZZ_CASES
    try:
        found = asyncio.run(fuzz_run.run(seed, cases, place, say))
    except Exception as error:  # noqa: BLE001 - as above
        found = [f"the run broke off: {_words(error)}"]
    return _found("fuzz", found, say)


def _prepared(name: str, folder: Path) -> tuple[Path, Say]:
    place = folder / name.replace(" ", "-")
    place.mkdir()
    return place, platform_run.timed(lambda line: print(f"{name:15} {line}", flush=True))


def _found(name: str, problems: list[str], say: Say) -> list[str]:
    say(f"{len(problems)} findings" if problems else "as it must be")
    return [f"{name}: {each}" for each in problems]


def _orders(scenario: str, engine: str, seed: int, options: argparse.Namespace, folder: Path) -> Orders:
    tasks, over_s, workers = {
        "queue": (options.tasks, options.minutes * 60, 3),
        "wipe": (WIPE_TASKS, WIPE_S, 3),
        "kills": (KILLS_TASKS, KILLS_S, 1),
    }[scenario]
    return Orders(
        seed=seed, tasks=tasks, over_s=over_s, engine=engine, folder=folder, workers=workers, less=options.short
    )


def _words(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_words(each) for each in error.exceptions)
    return f"{type(error).__name__}: {error}"


def _arguments(options: argparse.Namespace) -> str:
    engine = [f"--engine {options.engine}"] if options.engine else []
    if options.short:
        return " ".join(["--short", *engine])
    words = ["--quick"] if options.quick else [f"--tasks {options.tasks}", f"--minutes {options.minutes:g}"]
    return " ".join([*words, *engine, *(f"--scenario {each}" for each in options.scenario or ())])


if __name__ == "__main__":
    sys.exit(main())
