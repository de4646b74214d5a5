"""The instances that pools have, as the ledger, the providers' lists and the workers' reports together tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from msgspec.structs import replace

from sophia.nouns.pool import Instance, InstanceState, PoolSpec
from sophia.pools.observe import Observation
from sophia.providers.base import Machine
from sophia.queue.base import WorkerBeat

LAUNCH_GRACE_S = 10.0
"""How long an instance whose launch was never answered may be missing from its provider's list."""
MISSING_LISTINGS = 2
"""Lists in a row without a known machine, after which it is gone; one is enough while it drains."""


class Findings(msgspec.Struct, kw_only=True):
    """What a look at the world asks for beyond new states."""

    strays: list[tuple[str, Machine]] = []
    """Provider and machine of ours that no pool wants."""
    failed_boots: list[Instance] = []
    """Gone before they were ever ready."""


class Roster:
    """Instances by id. States only go forward: requested, booting, ready, draining, terminated."""

    def __init__(self, pools: Mapping[str, PoolSpec], history_s: float) -> None:
        self._pools = pools
        self._history_ms = round(history_s * 1000)
        self._instances: dict[str, Instance] = {}
        self._terminated_at_ms: dict[str, int] = {}
        self._missing: dict[str, int] = {}
        self._done: dict[str, int] = {}

    def load(self, instances: Iterable[Instance]) -> None:
        """Start anew from what was recorded. While nobody listened, silence meant nothing."""
        self._instances = {one.id: replace(one, silent_since_ms=None, busy=None) for one in instances}
        self._missing.clear()
        self._terminated_at_ms.clear()
        self._done.clear()

    def put(self, instance: Instance, now_ms: int) -> None:
        self._instances[instance.id] = instance
        if instance.state is InstanceState.TERMINATED:
            self._terminated_at_ms.setdefault(instance.id, now_ms)
            self._missing.pop(instance.id, None)
            self._done.pop(instance.id, None)
        else:
            self._terminated_at_ms.pop(instance.id, None)

    def get(self, instance_id: str) -> Instance | None:
        return self._instances.get(instance_id)

    def everyone(self) -> list[Instance]:
        """With those terminated no longer than the history ago; oldest first."""
        return sorted(self._instances.values(), key=lambda one: (one.requested_at_ms, one.id))

    def live(self, pool: str) -> list[Instance]:
        return [one for one in self.everyone() if one.pool == pool and one.state is not InstanceState.TERMINATED]

    def take_in(self, seen: Observation) -> Findings:
        """Bring every instance up to date with an observation; what was not seen stays as it was."""
        findings = Findings()
        for instance in self.everyone():
            if instance.state is not InstanceState.TERMINATED:
                self._take_in_one(instance, seen, findings)
        for provider, listing in seen.machines.items():
            for machine in (listing or {}).values():
                known = self._instances.get(machine.name)
                if known is None or known.state is InstanceState.TERMINATED:
                    self._take_in_unknown(provider, machine, seen, findings)
                elif not self._wanted(provider, known.pool):
                    findings.strays.append((provider, machine))
        self._forget(seen.at_ms)
        return findings

    def _take_in_one(self, instance: Instance, seen: Observation, findings: Findings) -> None:
        machine, missing = self._listed(instance, seen)
        if machine is not None:
            self._missing.pop(instance.id, None)
            instance = replace(instance, provider_ref=machine.ref)
            if seen.beats is not None:
                beat = seen.beats.get(instance.id)
                instance = reported(instance, machine, beat, self._done.get(instance.id), seen.at_ms)
                self._done[instance.id] = beat.done if beat else self._done.get(instance.id, 0)
            else:
                # Unknown is not idle: the idle time begins anew when it is known to be idle again.
                instance = replace(instance, busy=None, idle_since_ms=None, silent_since_ms=None)
            self.put(instance, seen.at_ms)
        elif missing and self._is_gone(instance, seen.at_ms):
            if instance.state in (InstanceState.REQUESTED, InstanceState.BOOTING):
                findings.failed_boots.append(instance)
            self.put(terminated(instance), seen.at_ms)

    def _listed(self, instance: Instance, seen: Observation) -> tuple[Machine | None, bool]:
        """The machine, and whether it is known to be missing."""
        spec = self._pools.get(instance.pool)
        listings = list(seen.machines.values()) if spec is None else [seen.machines.get(spec.provider)]
        for listing in listings:
            if listing is not None and instance.id in listing:
                return listing[instance.id], False
        return None, all(listing is not None for listing in listings)

    def _is_gone(self, instance: Instance, now_ms: int) -> bool:
        missed = self._missing[instance.id] = self._missing.get(instance.id, 0) + 1
        if instance.state is InstanceState.DRAINING:
            return True
        if not instance.provider_ref:
            return now_ms - instance.requested_at_ms > LAUNCH_GRACE_S * 1000
        return missed >= MISSING_LISTINGS

    def _take_in_unknown(self, provider: str, machine: Machine, seen: Observation, findings: Findings) -> None:
        if not self._wanted(provider, machine.pool):
            findings.strays.append((provider, machine))
            return
        adopted = Instance(
            id=machine.name,
            pool=machine.pool,
            state=InstanceState.BOOTING,
            provider_ref=machine.ref,
            instance_type=machine.instance_type,
            region=machine.region,
            requested_at_ms=machine.started_at_ms or seen.at_ms,
            reason=f"adopted: listed by {provider}, not known here",
        )
        self.put(adopted, seen.at_ms)
        self._take_in_one(adopted, seen, findings)

    def _wanted(self, provider: str, pool: str) -> bool:
        return pool in self._pools and self._pools[pool].provider == provider

    def _forget(self, now_ms: int) -> None:
        for instance_id, at_ms in list(self._terminated_at_ms.items()):
            if now_ms - at_ms > self._history_ms:
                del self._terminated_at_ms[instance_id]
                del self._instances[instance_id]


def reported(
    instance: Instance, machine: Machine, beat: WorkerBeat | None, done_before: int | None, now_ms: int
) -> Instance:
    """A listed instance after its worker's report, or after its silence."""
    if beat is None:
        silent_since = instance.silent_since_ms or now_ms
        instance = replace(instance, busy=None, idle_since_ms=None, silent_since_ms=silent_since)
    else:
        worked = beat.busy > 0 or (done_before is not None and beat.done != done_before)
        idle_since = (None if worked else instance.idle_since_ms) or (None if beat.busy else now_ms)
        instance = replace(instance, busy=beat.busy, slots=beat.slots, idle_since_ms=idle_since, silent_since_ms=None)
    if instance.state is InstanceState.DRAINING:
        return instance
    if machine.state == "stopping" or (beat is not None and beat.state == "draining"):
        reason = "its worker is leaving" if beat is not None else "its provider is stopping it"
        return replace(instance, state=InstanceState.DRAINING, draining_since_ms=now_ms, reason=reason)
    if beat is None:
        booting = instance.state is InstanceState.REQUESTED
        return replace(instance, state=InstanceState.BOOTING) if booting else instance
    if instance.state is not InstanceState.READY:
        boot_s = max(0.0, (now_ms - instance.requested_at_ms) / 1000)
        return replace(
            instance,
            state=InstanceState.READY,
            ready_at_ms=now_ms,
            reason=f"reported ready {boot_s:.1f} s after its request",
        )
    return instance


def terminated(instance: Instance) -> Instance:
    """An instance whose machine is gone; what it drained for stays its reason."""
    drained = instance.state is InstanceState.DRAINING
    reason = instance.reason if drained else f"gone while {instance.state}: no longer listed by its provider"
    return replace(
        instance, state=InstanceState.TERMINATED, reason=reason, busy=None, idle_since_ms=None, silent_since_ms=None
    )
