"""The instances that pools have, as the ledger, the providers' lists and the workers' reports together tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from msgspec.structs import replace

from sophia.nouns.pool import Instance, InstanceState, PoolSpec
from sophia.pools import billing
from sophia.pools.observe import Observation
from sophia.providers.base import Machine, Traits
from sophia.queue.base import WorkerBeat

MISSING_LISTINGS = 2
"""Lists in a row without a known machine, after which it is gone; one is enough while it drains."""
ILLNESS_GRACE_S = 60.0
"""How long a machine may be called unhealthy by its provider while its worker is silent."""
LEFT_AFTER_S = 4.0
"""How long a draining worker must be silent to have left its machine."""
LOCAL_TRAITS = Traits()


class Findings(msgspec.Struct, kw_only=True):
    """What a look at the world asks for beyond new states."""

    strays: list[tuple[str, Machine]] = []
    """Provider and machine of ours that no pool wants."""
    failed_boots: list[Instance] = []
    """Gone before they were ever ready."""
    lost: list[tuple[Instance, str]] = []
    """To be terminated: taken away or given up by their provider, or left by their worker; with the reason."""
    ill: list[tuple[Instance, str]] = []
    """To be drained."""


class Roster:
    """Instances by id. States only go forward: requested, booting, ready, draining, terminated."""

    def __init__(
        self, pools: Mapping[str, PoolSpec], history_s: float, traits: Mapping[str, Traits] | None = None
    ) -> None:
        self._pools = pools
        self._traits = traits or {}
        self._billing = billing.Sightings()
        self._ill_since_ms: dict[str, int] = {}
        self._history_ms = round(history_s * 1000)
        self._instances: dict[str, Instance] = {}
        self._terminated_at_ms: dict[str, int] = {}
        self._missing: dict[str, int] = {}
        self._missing_since_ms: dict[str, int] = {}
        self._done: dict[str, int] = {}

    def load(self, instances: Iterable[Instance], seen_at_ms: int | None = None) -> None:
        """Start anew from what was recorded, and was last seen at that moment. While nobody listened, silence meant
        nothing."""
        instances = list(instances)
        self._instances = {one.id: replace(one, silent_since_ms=None, busy=None) for one in instances}
        self._missing.clear()
        self._missing_since_ms.clear()
        self._ill_since_ms.clear()
        self._billing.resume((one.id for one in instances if one.billed_from_ms is not None), seen_at_ms)
        self._terminated_at_ms.clear()
        self._done.clear()

    def put(self, instance: Instance, now_ms: int) -> None:
        self._instances[instance.id] = instance
        if instance.state is InstanceState.TERMINATED:
            self._terminated_at_ms.setdefault(instance.id, now_ms)
            self._missing.pop(instance.id, None)
            self._missing_since_ms.pop(instance.id, None)
            self._ill_since_ms.pop(instance.id, None)
            self._billing.forget(instance.id)
            self._done.pop(instance.id, None)
        else:
            self._terminated_at_ms.pop(instance.id, None)

    def get(self, instance_id: str) -> Instance | None:
        return self._instances.get(instance_id)

    def drop(self, instance_id: str) -> None:
        """Forget one that never came to be."""
        self._instances.pop(instance_id, None)
        self._terminated_at_ms.pop(instance_id, None)

    def everyone(self) -> list[Instance]:
        """With those terminated no longer than the history ago; oldest first."""
        return sorted(self._instances.values(), key=lambda one: (one.requested_at_ms, one.id))

    def live(self, pool: str) -> list[Instance]:
        return [one for one in self.everyone() if one.pool == pool and one.state is not InstanceState.TERMINATED]

    def take_in(self, seen: Observation) -> Findings:
        """Bring every instance up to date with an observation; what was not seen stays as it was."""
        findings = Findings()
        for provider, double in seen.doubles:
            self._take_in_double(provider, double, seen, findings)
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
            self._missing_since_ms.pop(instance.id, None)
            instance = self._billing.listed(replace(instance, provider_ref=machine.ref), machine, seen.at_ms)
            if seen.beats is not None:
                beat = seen.beats.get(instance.id)
                instance = reported(instance, machine, beat, self._done.get(instance.id), seen.at_ms)
                self._done[instance.id] = beat.done if beat else self._done.get(instance.id, 0)
            else:
                # Unknown is not idle: the idle time begins anew when it is known to be idle again.
                instance = replace(instance, busy=None, idle_since_ms=None, silent_since_ms=None)
            self.put(instance, seen.at_ms)
            self._judge(instance, machine, seen, findings)
        elif missing and self._is_gone(instance, seen.at_ms):
            if instance.state in (InstanceState.REQUESTED, InstanceState.BOOTING):
                findings.failed_boots.append(instance)
            self.put(self._billing.gone(terminated(instance), seen.at_ms), seen.at_ms)

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
            # Counted from the first list that could have shown it: the launch may have taken long to fail.
            since_ms = self._missing_since_ms.setdefault(instance.id, now_ms)
            return now_ms - since_ms >= self._traits_of(instance.pool).launch_grace_s * 1000
        return missed >= MISSING_LISTINGS

    def _take_in_unknown(self, provider: str, machine: Machine, seen: Observation, findings: Findings) -> None:
        if not self._wanted(provider, machine.pool):
            findings.strays.append((provider, machine))
            return
        before = self._instances.get(machine.name)
        adopted = Instance(
            id=machine.name,
            pool=machine.pool,
            state=InstanceState.BOOTING,
            provider_ref=machine.ref,
            instance_type=machine.instance_type,
            region=machine.region,
            price_usd_per_hour=machine.price_usd_per_hour or 0.0,
            requested_at_ms=machine.started_at_ms or (before.requested_at_ms if before else seen.at_ms),
            billed_from_ms=before.billed_from_ms if before else None,
            reason=f"adopted: listed by {provider}, not known here",
        )
        self.put(adopted, seen.at_ms)
        self._take_in_one(adopted, seen, findings)

    def _take_in_double(self, provider: str, double: Machine, seen: Observation, findings: Findings) -> None:
        """Two machines under one intent: the one that is on record stays, else the first one listed."""
        known = self._instances.get(double.name)
        listing = seen.machines.get(provider) or {}
        first = listing.get(double.name)
        if known is not None and first is not None and known.provider_ref == double.ref:
            findings.strays.append((provider, first))
            self._instances[known.id] = replace(known, provider_ref=double.ref)
        else:
            findings.strays.append((provider, double))

    def _judge(self, instance: Instance, machine: Machine, seen: Observation, findings: Findings) -> None:
        """Whether a listed machine is to go for what its provider says of it, or because its worker has left."""
        if not any(self._wanted(provider, instance.pool) for provider in seen.machines):
            return
        if machine.state == "lost":
            findings.lost.append((instance, f"taken away by {self._pools[instance.pool].provider}"))
            return
        if seen.beats is None or machine.state == "stopping":
            return
        silent_s = 0.0 if instance.silent_since_ms is None else (seen.at_ms - instance.silent_since_ms) / 1000
        if instance.state is InstanceState.DRAINING:
            stays = not self._traits_of(instance.pool).ends_with_worker
            if stays and instance.silent_since_ms is not None and silent_s >= LEFT_AFTER_S:
                findings.lost.append((instance, instance.reason.removeprefix("terminated: ")))
            return
        if machine.state != "unhealthy":
            self._ill_since_ms.pop(instance.id, None)
            return
        since_ms = self._ill_since_ms.setdefault(instance.id, seen.at_ms)
        if instance.silent_since_ms is None:
            findings.ill.append((instance, "called unhealthy by its provider"))
        elif (ill_s := (seen.at_ms - since_ms) / 1000) >= ILLNESS_GRACE_S:
            findings.lost.append((instance, f"called unhealthy by its provider for {ill_s:.0f} s, and silent"))

    def _traits_of(self, pool: str) -> Traits:
        spec = self._pools.get(pool)
        return LOCAL_TRAITS if spec is None else self._traits.get(spec.provider, LOCAL_TRAITS)

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
