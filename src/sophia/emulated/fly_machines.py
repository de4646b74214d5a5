"""The machines of an emulated Fly account: they start, stop, suspend and are destroyed in their time, and cost by the
second while started."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import msgspec

from sophia.emulated.cloud import Chances, Nature, Now
from sophia.providers.fly.prices import FlySize

RESTART_SHARE = 0.2
"""Of the boot time of a new machine: the image is there already."""
RESUME_SHARE = 0.05
NEXT: Mapping[str, str] = {
    "starting": "started",
    "stopping": "stopped",
    "suspending": "suspended",
    "destroying": "destroyed",
}


class Spell(msgspec.Struct, kw_only=True):
    """A time in state started."""

    from_s: float
    to_s: float | None = None
    usd_per_s: float
    instance: str


class FlyMachine(msgspec.Struct, kw_only=True):
    id: str
    app: str
    name: str
    region: str
    config: dict[str, Any]
    created_s: float
    updated_s: float
    state: str = "created"
    until_s: float | None = None
    """When the next state begins; ``None``: not by itself."""
    version: int = 1
    runs: int = 0
    """How often it was started."""
    attended: bool = False
    """A real process is its inside: it has stopped when that has ended, or at the end of its time to stop."""
    signal: str = ""
    lease: str = ""
    lease_until_s: float = 0.0
    spells: list[Spell] = []
    events: list[dict[str, Any]] = []
    unreachable_s: float | None = None

    @property
    def size(self) -> FlySize:
        guest = self.config.get("guest", {})
        return FlySize(
            cpu_kind=guest.get("cpu_kind", "shared"), cpus=guest.get("cpus", 1), memory_mb=guest.get("memory_mb", 256)
        )

    @property
    def metadata(self) -> dict[str, str]:
        found: dict[str, str] = self.config.setdefault("metadata", {})
        return found

    def advance(self, now_s: float) -> None:
        """Everything that has happened by itself up to now."""
        if self.until_s is not None and now_s >= self.until_s:
            self.enter(NEXT[self.state], self.until_s)

    def enter(self, state: str, at_s: float, until_s: float | None = None) -> None:
        if self.state == "started" and self.spells and self.spells[-1].to_s is None:
            self.spells[-1].to_s = at_s
        self.state, self.until_s, self.updated_s = state, until_s, at_s
        if state == "started":
            self.spells.append(
                Spell(
                    from_s=at_s,
                    usd_per_s=self.size.usd_per_s(self.region),
                    instance=self.metadata.get("sophia_instance", ""),
                )
            )
        self.events.append(
            {
                "id": secrets.token_hex(8),
                "type": state,
                "status": state,
                "source": "flyd",
                "timestamp": int(at_s * 1000),
            }
        )
        del self.events[:-20]


class FlyLine(msgspec.Struct, frozen=True, kw_only=True):
    """What one machine cost under one instance's name. Started seconds are paid, part by part."""

    id: str
    name: str
    instance: str
    size: str
    region: str
    seconds: float
    usd: float


class FlyStatement(msgspec.Struct, frozen=True, kw_only=True):
    lines: list[FlyLine]
    seconds: float
    usd: float


class FlyFleet:
    """All machines that ever were, of all apps. Storage of stopped machines is left out of the bill."""

    def __init__(self, nature: Nature, now: Now) -> None:
        self.nature = nature
        self.now = now
        self.chances = Chances(nature.seed)
        self.machines: dict[str, FlyMachine] = {}

    def advance(self) -> None:
        now_s = self.now()
        for machine in self.machines.values():
            machine.advance(now_s)

    def of(self, app: str) -> list[FlyMachine]:
        return [one for one in self.machines.values() if one.app == app and one.state != "destroyed"]

    def has_capacity(self, region: str) -> bool:
        period = int(self.now() // self.nature.outage_period_s)
        outage = self.chances.of("outage", region, period).random() < self.nature.outage
        return not outage and not self.chances.happens(self.nature.no_capacity, "no capacity")

    def create(self, app: str, name: str, region: str, config: dict[str, Any]) -> FlyMachine:
        now_s = self.now()
        draw = self.chances.of("machine", len(self.machines))
        machine = FlyMachine(
            id=f"{draw.getrandbits(56):014x}",
            app=app,
            name=name,
            region=region,
            config=config,
            created_s=now_s,
            updated_s=now_s,
        )
        self.machines[machine.id] = machine
        return machine

    def start(self, machine: FlyMachine, share: float = 1.0) -> None:
        machine.runs += 1
        machine.signal = ""
        draw = self.chances.of("start", machine.id, machine.runs)
        now_s = self.now()
        if draw.random() < self.nature.never_boots:
            machine.enter("failed", now_s)
            return
        machine.enter("starting", now_s, now_s + draw.uniform(*self.nature.boot_s) * share)

    def stop(self, machine: FlyMachine, signal: str, timeout_s: float) -> None:
        now_s = self.now()
        machine.signal = signal
        lasts_s = timeout_s if machine.attended and signal != "SIGKILL" else self.nature.stop_s
        if machine.state == "stopping":
            machine.until_s = min(machine.until_s or now_s, now_s + lasts_s)
            return
        machine.enter("stopping", now_s, now_s + lasts_s)

    def exited(self, machine: FlyMachine) -> None:
        """Its main process has ended."""
        if machine.state in ("started", "stopping"):
            machine.enter("stopped", self.now())

    def statement(self) -> FlyStatement:
        """The account's bill up to now."""
        self.advance()
        now_s = self.now()
        lines = []
        for machine in self.machines.values():
            for spell in machine.spells:
                seconds = (now_s if spell.to_s is None else spell.to_s) - spell.from_s
                lines.append(
                    FlyLine(
                        id=machine.id,
                        name=machine.name,
                        instance=spell.instance,
                        size=machine.size.name,
                        region=machine.region,
                        seconds=round(seconds, 3),
                        usd=round(seconds * spell.usd_per_s, 9),
                    )
                )
        return FlyStatement(
            lines=lines,
            seconds=round(sum(line.seconds for line in lines), 3),
            usd=round(sum(line.usd for line in lines), 9),
        )
