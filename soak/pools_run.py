"""Pools against an emulated cloud that runs dry, loses replies and limits requests, while their manager is killed at
every step of a launch and between all others: a thousand seeded lives, in virtual time.

Found wrong is: a machine that no pool wants for longer than the reaper's interval; two machines for one intent; a
machine left at the end; a bill that is not what our own ledger says, to the minute.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec

from soak import pools_kill
from soak.pools_time import VirtualClock, VirtualLoop
from soak.pools_world import Killed, Late, LedgerRows, Log, Mortal, MortalLedger, MortalLog, MortalTransport, Workers
from sophia.emulated.cloud import EmulatedMachine, Nature
from sophia.emulated.lambda_cloud import EmulatedLambda
from sophia.nouns.pool import Instance, InstanceState, PoolSpec
from sophia.pools.manager import PoolManager
from sophia.providers.lambda_cloud import LambdaClient, LambdaProvider
from sophia.settings.load import load
from sophia.settings.model import Settings

REAP_EVERY_S = 60.0
RESTART_S = (1.0, 12.0)
"""Until the next leader has taken over, as measured on the platform."""
WORK_S = 900.0
"""Tasks arrive that long."""
LONGEST_S = 4 * 3600.0
LOOK_EVERY_S = 1.0
SCENARIOS = 1_000

STEPS = ("types", "keys", "intent", "publish", "launch", "record", "snapshot", "list", "terminate", "load")
LAUNCH_STEPS = ("types", "intent", "publish", "launch", "record", "snapshot")

SPEC = PoolSpec(
    provider="lambda",
    streams=("embedding",),
    instance_types=("gpu_1x_a6000", "gpu_1x_a10"),
    regions=("us-west-1", "us-east-1"),
    min=0,
    max=3,
    idle_timeout_s=120.0,
    slots=1,
    target_wait_s=60.0,
    boot_timeout_s=400.0,
    drain_timeout_s=60.0,
)


class Outcome(msgspec.Struct, kw_only=True):
    """What one scenario showed."""

    seed: int
    problems: list[str] = []
    kills: list[tuple[str, int, bool]] = []
    machines: int = 0
    intents: int = 0
    bill_minutes: int = 0
    ledger_minutes: int = 0
    equal: int = 0
    worst_s: float = 0.0
    """Greatest difference of an instance's paid time between bill and ledger."""
    worst_unwanted_s: float = 0.0


def settings_of(folder: Path) -> Settings:
    packaged = load(None, folder, {}, "local").settings
    loop = msgspec.structs.replace(packaged.pools_loop, tick_s=5.0, reap_every_s=REAP_EVERY_S)
    return msgspec.structs.replace(packaged, pools={"embedding": SPEC}, pools_loop=loop)


class Scenario:
    """One seeded world and the managers that live and die in it."""

    def __init__(self, seed: int, settings: Settings, loop: VirtualLoop) -> None:
        self.outcome = Outcome(seed=seed)
        self._settings = settings
        self._loop = loop
        self._clock = VirtualClock(loop)
        self._chance = random.Random(seed)
        draw = self._chance.uniform
        self._nature = Nature(
            seed=seed,
            boot_s=(60.0, 240.0),
            stop_s=10.0,
            outage=draw(0, 0.6),
            outage_period_s=300.0,
            no_capacity=draw(0, 0.2),
            throttled=draw(0, 0.1),
            fails=draw(0, 0.1),
            reply_lost=draw(0, 0.2),
            never_boots=draw(0, 0.15),
            falls_ill=draw(0, 0.3),
            taken_away=draw(0, 0.3),
        )
        self._cloud = EmulatedLambda(self._clock.monotonic_s, self._nature)
        self._rows = LedgerRows(random.Random(seed + 1), fails=draw(0, 0.05))
        self._log = Log()
        arrivals = [(draw(0, WORK_S), draw(5, 90)) for _ in range(self._chance.randint(3, 40))]
        self._workers = Workers(self._cloud, self._clock, self._chance, arrivals)
        self._kills = [self._drawn_kill(number) for number in range(self._chance.randint(2, 6))]
        self._late = Late()
        self._manager_up = False
        self._unwanted_s: dict[str, float] = {}

    def _drawn_kill(self, number: int) -> tuple[str, int, bool]:
        """The first kill of a scenario goes through the steps of a launch by its seed; the others are drawn."""
        if number == 0:
            step, after = divmod(self.outcome.seed, 2)
            return LAUNCH_STEPS[step % len(LAUNCH_STEPS)], 1 + step // len(LAUNCH_STEPS) % 2, bool(after)
        return self._chance.choice(STEPS), self._chance.randint(1, 4), self._chance.random() < 0.5

    async def run(self) -> Outcome:
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._watch())
            for kill in self._kills:
                await self._live(kill, limit_s=600.0)
                await asyncio.sleep(self._chance.uniform(*RESTART_S))
            await self._live(None, limit_s=LONGEST_S)
            watching.cancel()
        self._verify()
        return self.outcome

    async def _live(self, dies_at: tuple[str, int, bool] | None, limit_s: float) -> None:
        """One life of a manager, until it is killed, or the world is at rest."""
        mortal = Mortal(dies_at)
        manager, provider = self._manager(mortal)
        running = asyncio.create_task(manager.run())
        self._manager_up = True
        until_s = self._loop.now_s + limit_s
        while not running.done() and not mortal.dead and self._loop.now_s < until_s:
            await asyncio.sleep(1.0)
            if dies_at is None and self._at_rest():
                break
        self._manager_up = False
        killed = mortal.dead
        mortal.dead = True
        running.cancel()
        (end,) = await asyncio.gather(running, return_exceptions=True)
        await provider.close()
        if killed:
            self.outcome.kills.append(cast("tuple[str, int, bool]", dies_at))
        elif isinstance(end, BaseException) and not _is_death(end):
            self.outcome.problems.append(f"the manager ended with {end!r}")

    def _manager(self, mortal: Mortal) -> tuple[PoolManager, LambdaProvider]:
        transport = MortalTransport(self._cloud, mortal, self._chance, lost=self._nature.fails, late=self._late)
        client = LambdaClient(transport, self._clock, request_every_s=1.05, launch_every_s=12.5)
        provider = LambdaProvider(client, self._clock, owner="soak")
        manager = PoolManager(
            self._settings,
            {"lambda": provider},
            cast(Any, self._workers),
            cast(Any, self._workers),
            cast(Any, MortalLog(self._log, mortal)),
            cast(Any, MortalLedger(self._rows, mortal)),
            self._clock,
            chance=random.Random(self._chance.random()),
        )
        return manager, provider

    def _at_rest(self) -> bool:
        live = [one for one in self._rows.all() if one.state is not InstanceState.TERMINATED]
        return self._workers.open_tasks == 0 and not live and not self._costing() and not self._late

    def _costing(self) -> list[EmulatedMachine]:
        return [m for m in self._cloud.fleet.machines.values() if m.terminated_s is None]

    async def _watch(self) -> None:
        """How long a machine that no pool wants is there while a manager lives."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            intents = {one.id: one for one in self._rows.all()}
            for machine in self._costing():
                intent = intents.get(machine.name)
                wanted = intent is not None and intent.state is not InstanceState.TERMINATED
                if wanted:
                    self._unwanted_s.pop(machine.id, None)
                elif self._manager_up:
                    unwanted_s = self._unwanted_s[machine.id] = self._unwanted_s.get(machine.id, 0.0) + LOOK_EVERY_S
                    self.outcome.worst_unwanted_s = max(self.outcome.worst_unwanted_s, unwanted_s)

    def _verify(self) -> None:
        outcome, statement = self.outcome, self._cloud.fleet.statement()
        intents = {one.id: one for one in self._rows.all()}
        outcome.machines, outcome.intents = len(statement.lines), len(intents)
        if outcome.worst_unwanted_s > REAP_EVERY_S:
            outcome.problems.append(f"a machine was unwanted for {outcome.worst_unwanted_s:.0f} s")
        twice = [name for name, count in Counter(line.name for line in statement.lines).items() if count > 1]
        outcome.problems += [f"{name} was launched twice" for name in twice]
        outcome.problems += [f"{machine.name} was left behind" for machine in self._costing()]
        if self._workers.open_tasks:
            outcome.problems.append(f"{self._workers.open_tasks} tasks were never done")
        for line in statement.lines:
            self._compare(self._cloud.fleet.machines[line.id], line.minutes, intents.get(line.name))

    def _compare(self, machine: EmulatedMachine, minutes: int, intent: Instance | None) -> None:
        outcome = self.outcome
        if intent is None:
            outcome.problems.append(f"{machine.name} is not in the ledger")
            return
        ours_s = 0.0
        if intent.billed_from_ms is not None:
            ours_s = ((intent.billed_to_ms or self._clock.now_ms()) - intent.billed_from_ms) / 1000
        ours = intent.paid_minutes(self._clock.now_ms())
        away_s = abs(ours_s - machine.paid_s(self._loop.now_s))
        outcome.bill_minutes += minutes
        outcome.ledger_minutes += ours
        outcome.equal += ours == minutes
        outcome.worst_s = max(outcome.worst_s, away_s)
        if away_s >= 60 or abs(ours - minutes) > 1:
            outcome.problems.append(
                f"{machine.name}: the bill says {minutes} min ({machine.paid_s(self._loop.now_s):.1f} s), "
                f"the ledger {ours} min ({ours_s:.1f} s)"
            )


def _is_death(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_is_death(each) for each in error.exceptions)
    return isinstance(error, Killed | asyncio.CancelledError)


def run_one(seed: int, settings: Settings) -> Outcome:
    """One scenario from its seed; nothing of it depends on the time of day."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(Scenario(seed, settings, loop).run())
    finally:
        loop.close()


def run(seed: int, count: int, folder: Path, say: Callable[[str], None]) -> list[str]:
    """``count`` scenarios, the first one of ``seed``; what was wrong."""
    logging.getLogger("sophia").setLevel(logging.CRITICAL)
    settings = settings_of(folder)
    outcomes = []
    for number in range(count):
        outcomes.append(run_one(seed + number, settings))
        if (number + 1) % 100 == 0:
            say(f"{number + 1} of {count} scenarios")
    for line in summary(outcomes):
        say(line)
    found = [f"seed {one.seed}: {problem}" for one in outcomes for problem in one.problems]
    real = max(1, pools_kill.KILLS * count // SCENARIOS)
    return found + [f"killed for real: {each}" for each in asyncio.run(pools_kill.run(seed, real, folder, say))]


def summary(outcomes: list[Outcome]) -> list[str]:
    kills = Counter((step, "after" if after else "before") for one in outcomes for step, _, after in one.kills)
    machines = sum(one.machines for one in outcomes)
    return [
        f"{len(outcomes)} scenarios, {sum(kills.values())} kills, {machines} machines for "
        f"{sum(one.intents for one in outcomes)} intents",
        "killed " + ", ".join(f"{when} {step} {count}x" for (step, when), count in sorted(kills.items())),
        f"bill {sum(one.bill_minutes for one in outcomes)} min, ledger {sum(one.ledger_minutes for one in outcomes)} min; "
        f"{sum(one.equal for one in outcomes)} of {machines} machines equal to the minute, none further apart than "
        f"{max((one.worst_s for one in outcomes), default=0):.1f} s",
        f"longest that a machine was unwanted: {max((one.worst_unwanted_s for one in outcomes), default=0):.0f} s",
    ]
