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
    """``booting``, ``running`` or ``stopping``; a machine that is gone is not listed."""
    instance_type: str
    region: str
    started_at_ms: int | None = None


class LaunchRequest(msgspec.Struct, frozen=True, kw_only=True):
    instance_id: str
    pool: str
    spec: PoolSpec
    offer: Offer


class Provider(Protocol):
    name: str

    async def offers(self, spec: PoolSpec) -> list[Offer]:
        """What could be launched for this pool, in its order of preference."""

    async def launch(self, request: LaunchRequest) -> Machine:
        """Start one machine. The reply may be lost although the machine runs: callers adopt by listing."""

    async def machines(self) -> Sequence[Machine]:
        """Every machine of ours that exists, whoever started it."""

    async def drain(self, ref: str) -> None:
        """Tell the machine's worker to finish and leave, where the provider has a way to (a signal)."""

    async def terminate(self, ref: str) -> None:
        """Stop it now. Gone already is success."""

    async def close(self) -> None: ...
