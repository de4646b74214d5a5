"""The provider contract: who gives machines. Small on purpose; the provider's listing is the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from sophia.nouns.pool import Offer, PoolSpec


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A machine as its provider lists it. ``name`` carries our instance id."""

    ref: str
    name: str
    pool: str
    state: str
    """``booting``, ``running``, ``unhealthy``, ``lost`` (taken away by its provider) or ``stopping``; a machine that is
    gone is not listed."""
    instance_type: str
    region: str
    started_at_ms: int | None = None
    price_usd_per_hour: float | None = None
    """``None``: the provider's list does not say."""
    billed: bool = False
    """Whether it costs money at this moment."""


class Traits(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between providers in ways that the pool manager must know."""

    launch_grace_s: float = 10.0
    """How long a machine whose launch was never answered may be missing from the list before it is held not to exist."""
    ends_with_worker: bool = True
    """Whether a machine goes when its worker ends. Else it is terminated once its worker has left."""


class LaunchRequest(msgspec.Struct, frozen=True, kw_only=True):
    instance_id: str
    pool: str
    spec: PoolSpec
    offer: Offer


class Provider(Protocol):
    """Any method may raise ``Unavailable``, ``RateLimited``, ``Unauthorized`` or ``Forbidden``."""

    name: str
    traits: Traits

    def launch_wait_s(self) -> float:
        """How long the provider's own limits would hold back a launch that is asked for now; 0: not at all."""

    async def offers(self, spec: PoolSpec) -> list[Offer]:
        """What could be launched for this pool, in its order of preference."""

    async def launch(self, request: LaunchRequest) -> Machine:
        """Start one machine. ``Unavailable`` says that it may run all the same: callers adopt it by listing. Every other
        error says that there is none: ``InsufficientCapacity``, ``QuotaExceeded``, ``RateLimited``, ``Unauthorized``,
        ``Forbidden``, ``InvalidInput``."""

    async def machines(self) -> Sequence[Machine]:
        """Every machine of ours that exists, whoever started it."""

    async def drain(self, ref: str) -> None:
        """Tell the machine's worker to finish and leave, where the provider has a way to (a signal)."""

    async def terminate(self, ref: str) -> None:
        """Stop it now. Gone already is success."""

    async def close(self) -> None: ...
