"""What the emulated clouds have in common: machines that take their time to boot, run dry of capacity, fail and cost."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from math import ceil

import msgspec

Now = Callable[[], float]
"""The cloud's time in seconds."""


class Nature(msgspec.Struct, frozen=True, kw_only=True):
    """How the cloud behaves. All of it is drawn from ``seed``; chances are from 0 to 1."""

    seed: int = 0
    boot_s: tuple[float, float] = (240.0, 360.0)
    """From the launch to healthy; evenly between the two."""
    stop_s: float = 20.0
    """From the order to terminate to its end. It costs nothing any more."""
    listed_after_end_s: float = 30.0
    rate_limits: bool = True
    never_boots: float = 0.0
    falls_ill: float = 0.0
    """Becomes unhealthy within its first hour."""
    taken_away: float = 0.0
    """Is preempted within its first hour."""
    outage: float = 0.0
    """That a type has no capacity in a region, drawn anew for every period."""
    outage_period_s: float = 600.0
    no_capacity: float = 0.0
    """That a launch is refused although capacity was shown."""
    throttled: float = 0.0
    """That a request gets a 429 out of turn."""
    fails: float = 0.0
    """That a request gets a server error before anything was done."""
    reply_lost: float = 0.0
    """That a request is carried out and its answer never arrives."""


QUIET = Nature()


class Chances:
    """Draws that depend on seed and name alone, not on the order in which they are made."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._counts: dict[str, int] = {}

    def of(self, *name: object) -> random.Random:
        """The source of draws for one thing."""
        return random.Random(f"{self._seed}/{'/'.join(map(str, name))}")  # noqa: S311 - a simulation

    def happens(self, chance: float, purpose: str) -> bool:
        """The next draw for this purpose."""
        count = self._counts[purpose] = self._counts.get(purpose, 0) + 1
        return chance > 0 and self.of(purpose, count).random() < chance


class EmulatedMachine(msgspec.Struct, kw_only=True):
    """One machine. ``active_s``, ``ill_s`` and ``lost_s`` lie in the future at first; ``None``: never."""

    id: str
    name: str
    instance_type: str
    region: str
    tags: dict[str, str]
    cents_per_hour: int
    launched_s: float
    active_s: float | None
    ill_s: float | None = None
    lost_s: float | None = None
    terminated_s: float | None = None
    """When it was ordered to end."""
    user_data: str = ""

    def status(self, now_s: float, stop_s: float) -> str:
        """``booting``, ``active``, ``unhealthy``, ``preempted``, ``terminating`` or ``terminated``."""
        if self.terminated_s is not None:
            return "terminating" if now_s < self.terminated_s + stop_s else "terminated"
        if self.lost_s is not None and now_s >= self.lost_s:
            return "preempted"
        if self.active_s is None or now_s < self.active_s:
            return "booting"
        return "unhealthy" if self.ill_s is not None and now_s >= self.ill_s else "active"

    def paid_s(self, now_s: float) -> float:
        """Seconds that cost: from healthy to the order to end, or to being taken away."""
        ends = [end for end in (self.terminated_s, self.lost_s) if end is not None]
        end = min([now_s, *ends])
        return 0.0 if self.active_s is None else max(0.0, end - self.active_s)


class StatementLine(msgspec.Struct, frozen=True, kw_only=True):
    """What one machine cost. Every started minute is paid."""

    id: str
    name: str
    tags: dict[str, str]
    instance_type: str
    region: str
    launched_s: float
    active_s: float | None
    ended_s: float | None
    minutes: int
    usd: float


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    lines: list[StatementLine]
    minutes: int
    usd: float


class Fleet:
    """The machines of an account, all that ever were."""

    def __init__(self, nature: Nature, now: Now) -> None:
        self.nature = nature
        self.now = now
        self.chances = Chances(nature.seed)
        self.machines: dict[str, EmulatedMachine] = {}

    def has_capacity(self, instance_type: str, region: str) -> bool:
        period = int(self.now() // self.nature.outage_period_s)
        return self.chances.of("outage", instance_type, region, period).random() >= self.nature.outage

    def launch(
        self,
        *,
        name: str,
        instance_type: str,
        region: str,
        tags: dict[str, str],
        cents_per_hour: int,
        user_data: str = "",
    ) -> EmulatedMachine:
        number = len(self.machines)
        draw = self.chances.of("machine", number)
        launched_s = self.now()
        boots_s = draw.uniform(*self.nature.boot_s)
        active_s = None if draw.random() < self.nature.never_boots else launched_s + boots_s
        ill_s = None if active_s is None else _within_an_hour(draw, self.nature.falls_ill, active_s)
        lost_s = _within_an_hour(draw, self.nature.taken_away, launched_s)
        machine = EmulatedMachine(
            id=f"{draw.getrandbits(128):032x}",
            name=name,
            instance_type=instance_type,
            region=region,
            tags=tags,
            cents_per_hour=cents_per_hour,
            launched_s=launched_s,
            active_s=active_s,
            ill_s=ill_s,
            lost_s=lost_s,
            user_data=user_data,
        )
        self.machines[machine.id] = machine
        return machine

    def terminate(self, machine_id: str) -> EmulatedMachine | None:
        """``None``: there is no such machine. A second order changes nothing."""
        machine = self.machines.get(machine_id)
        if machine is not None and machine.terminated_s is None:
            machine.terminated_s = self.now()
        return machine

    def status(self, machine: EmulatedMachine) -> str:
        return machine.status(self.now(), self.nature.stop_s)

    def listed(self) -> list[EmulatedMachine]:
        """Those that are there, and those that ended a moment ago."""
        now_s = self.now()
        kept_s = self.nature.stop_s + self.nature.listed_after_end_s
        return [
            machine
            for machine in self.machines.values()
            if machine.terminated_s is None or now_s < machine.terminated_s + kept_s
        ]

    def statement(self) -> Statement:
        """The account's bill up to now."""
        now_s = self.now()
        lines = [_line(machine, now_s) for machine in self.machines.values()]
        return Statement(
            lines=lines, minutes=sum(line.minutes for line in lines), usd=round(sum(line.usd for line in lines), 6)
        )


def _within_an_hour(draw: random.Random, chance: float, from_s: float) -> float | None:
    moment_s = from_s + draw.uniform(0, 3600)
    return moment_s if draw.random() < chance else None


def _line(machine: EmulatedMachine, now_s: float) -> StatementLine:
    minutes = ceil(round(machine.paid_s(now_s), 3) / 60)
    ends: Sequence[float] = [end for end in (machine.terminated_s, machine.lost_s) if end is not None and end <= now_s]
    return StatementLine(
        id=machine.id,
        name=machine.name,
        tags=machine.tags,
        instance_type=machine.instance_type,
        region=machine.region,
        launched_s=machine.launched_s,
        active_s=machine.active_s,
        ended_s=min(ends, default=None),
        minutes=minutes,
        usd=round(minutes * machine.cents_per_hour / 6000, 6),
    )
