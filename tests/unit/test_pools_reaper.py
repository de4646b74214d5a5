"""What the reaper ends, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from sophia.nouns.clock import ManualClock
from sophia.nouns.errors import Unavailable
from sophia.nouns.pool import Instance, InstanceState
from sophia.pools.reaper import Reaper
from sophia.providers.base import Machine
from tests.unit.test_pools_spending import spec

POOLS = {"gpu": spec(), "cpu": spec(provider="fly")}


class Listing:
    """A provider's list, and what was ended of it."""

    def __init__(self, *machines: Machine) -> None:
        self.there = list(machines)
        self.ended: list[str] = []
        self.away = False

    async def machines(self) -> Sequence[Machine]:
        if self.away:
            raise Unavailable("no answer")
        return self.there

    async def terminate(self, ref: str) -> None:
        self.ended.append(ref)


class Intents:
    def __init__(self, *instances: Instance) -> None:
        self.known = list(instances)

    async def instances(self, live_only: bool) -> list[Instance]:
        return self.known


def machine(name: str, pool: str = "gpu", state: str = "running") -> Machine:
    return Machine(ref=f"ref-{name}", name=name, pool=pool, state=state, instance_type="t", region="r")


def intent(name: str, state: InstanceState = InstanceState.READY, ref: str = "") -> Instance:
    return Instance(id=name, pool="gpu", state=state, requested_at_ms=0, provider_ref=ref)


def reaper(listing: Listing, intents: Intents, clock: ManualClock) -> Reaper:
    providers: Any = {"lambda": listing}
    return Reaper(POOLS, providers, cast(Any, intents), clock, every_s=60.0)


@pytest.mark.parametrize(
    ("there", "known", "reason"),
    [
        (machine("a"), None, "no intent to launch it is on record"),
        (machine("a"), intent("a", InstanceState.TERMINATED), "it is on record as terminated"),
        (machine("a", "old"), intent("a"), "there is no pool 'old'"),
        (machine("a", "cpu"), intent("a"), "the pool 'cpu' is of provider fly"),
        (machine("a"), intent("a", ref="ref-b"), "its intent stands for ref-b"),
        (machine("a"), intent("a"), None),
        (machine("a"), intent("a", InstanceState.REQUESTED), None),
        (machine("a", state="stopping"), None, None),
    ],
)
async def test_who_is_wanted(there, known, reason):
    found = await reaper(Listing(there), Intents(*([known] if known else [])), ManualClock()).look()
    assert [one.reason for one in found] == ([reason] if reason else [])


async def test_only_what_stays_unwanted_is_ended_and_within_the_interval():
    listing, intents, clock = Listing(machine("a"), machine("b")), Intents(), ManualClock()
    reaping = reaper(listing, intents, clock)
    assert await reaping.pass_once() == []
    intents.known.append(intent("b"))
    clock.advance(30)
    await reaping.pass_once()
    assert listing.ended == ["ref-a"]


async def test_a_provider_that_does_not_answer_is_left_alone():
    listing, clock = Listing(machine("a")), ManualClock()
    reaping = reaper(listing, Intents(), clock)
    await reaping.pass_once()
    listing.away = True
    clock.advance(30)
    assert await reaping.pass_once() == []
