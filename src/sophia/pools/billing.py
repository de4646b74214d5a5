"""From when to when an instance costs money, as far as looking at its provider's lists can tell.

Providers do not say when they began to charge, so a moment is taken to lie in the middle between the look before it and
the look after it: with a look every few seconds that is far less than a minute off.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from sophia.nouns.pool import Instance
from sophia.providers.base import Machine

LONGEST_UNSEEN_MS = 15 * 60_000
"""A host that nobody looks after does not outlive its control plane by more."""


class Sightings:
    """When each instance was last seen to cost money, and not to."""

    def __init__(self) -> None:
        self._free_ms: dict[str, int] = {}
        self._paid_ms: dict[str, int] = {}

    def resume(self, costing: Iterable[str], seen_at_ms: int | None) -> None:
        """Start anew; those were seen to cost at that moment."""
        self._free_ms.clear()
        self._paid_ms = {} if seen_at_ms is None else dict.fromkeys(costing, seen_at_ms)

    def forget(self, instance_id: str) -> None:
        self._free_ms.pop(instance_id, None)
        self._paid_ms.pop(instance_id, None)

    def listed(self, instance: Instance, machine: Machine, now_ms: int) -> Instance:
        """The instance after its machine was listed."""
        if machine.price_usd_per_hour is not None and not instance.price_usd_per_hour:
            instance = replace(instance, price_usd_per_hour=machine.price_usd_per_hour)
        if machine.billed:
            self._paid_ms[instance.id] = now_ms
            if instance.billed_from_ms is None:
                return replace(instance, billed_from_ms=_middle(self._free_ms.get(instance.id), now_ms))
            # An order to end it that was thought to have been carried out was not.
            return replace(instance, billed_to_ms=None) if instance.billed_to_ms is not None else instance
        self._free_ms[instance.id] = now_ms
        return self.ended(instance, now_ms)

    def gone(self, instance: Instance, now_ms: int) -> Instance:
        """The instance after its machine was missed."""
        return self.ended(instance, now_ms)

    def ended(self, instance: Instance, now_ms: int) -> Instance:
        """It costs nothing any more; when that began is known if it is on record already."""
        if instance.billed_from_ms is None or instance.billed_to_ms is not None:
            return instance
        paid_ms = self._paid_ms.get(instance.id)
        # While nobody looked for long, it has ended itself: it does when it does not see its control plane.
        ended_ms = _middle(paid_ms, now_ms if paid_ms is None else min(now_ms, paid_ms + LONGEST_UNSEEN_MS))
        return replace(instance, billed_to_ms=max(ended_ms, instance.billed_from_ms))


def _middle(before_ms: int | None, after_ms: int) -> int:
    return after_ms if before_ms is None else (before_ms + after_ms) // 2
