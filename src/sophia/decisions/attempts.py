"""Which deployment of a model is asked first, and what follows when it fails."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from sophia.settings.deployments import FallbackSettings

_NOT_IMPLEMENTED = 501


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment as this decision sees it. Its number is its place in the sequence."""

    order: int
    weight: float
    usable: bool = True
    """Its breaker lets a call through."""
    resting: bool = False
    """It asked for a pause that is not over: it is asked only when nobody else can be."""
    tries: int = 0
    """How often this call has asked it."""


class FailureKind(StrEnum):
    REFUSED = "refused"
    """An answer whose status asks for another attempt."""
    UNREACHABLE = "unreachable"
    LATE = "late"
    """No answer in time: asking the same one again would most likely take as long again."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    kind: FailureKind
    retry_after_s: float | None = None


class NextTry(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    wait_s: float = 0.0


def asks_for_another(status: int, settings: FallbackSettings) -> bool:
    """Whether an answer with this status is not taken for the answer."""
    if status < 400:
        return False
    return status in settings.statuses or (status >= 500 and status != _NOT_IMPLEMENTED and "5xx" in settings.statuses)


def first_try(candidates: Sequence[Candidate], chance: float) -> int | None:
    """A number, by order and weight; ``None`` when no breaker lets a call through. ``chance`` is in [0, 1)."""
    usable = [number for number, candidate in enumerate(candidates) if candidate.usable]
    return _pick(candidates, [n for n in usable if not candidates[n].resting] or usable, chance)


def next_try(
    candidates: Sequence[Candidate],
    failed: int,
    failure: Failure,
    *,
    settings: FallbackSettings,
    left_s: float,
    chance: float,
) -> NextTry | None:
    """What follows when ``failed`` did: first one of its equals that was not asked yet, at once; then itself again, when
    it was not late and the wait is short; then the next in order; at last whoever has retries left, late or not.

    ``None``: nobody is left, or the wait would outlast ``left_s``. ``chance`` in [0, 1) spreads both choice and wait.
    """
    if left_s <= 0:
        return None
    fresh = [n for n, candidate in enumerate(candidates) if candidate.usable and candidate.tries == 0]
    awake = [n for n in fresh if not candidates[n].resting] or fresh
    equals = [n for n in awake if candidates[n].order == candidates[failed].order]
    if equals:
        return _at_once(_pick(candidates, equals, chance))
    wait_s = _wait_s(candidates[failed], failure, settings, chance)
    if wait_s is not None and failure.kind is not FailureKind.LATE and wait_s < left_s:
        return NextTry(number=failed, wait_s=wait_s)
    if awake:
        return _at_once(_pick(candidates, awake, chance))
    if wait_s is not None and wait_s < left_s:
        return NextTry(number=failed, wait_s=wait_s)
    return None


def _wait_s(candidate: Candidate, failure: Failure, settings: FallbackSettings, chance: float) -> float | None:
    """Before asking the same again; ``None``: not again."""
    if not candidate.usable or candidate.tries > settings.retries:
        return None
    if failure.retry_after_s is not None:
        return failure.retry_after_s if failure.retry_after_s <= settings.retry_wait_max_s else None
    longest_s = settings.retry_base_s * 2.0 ** min(candidate.tries - 1, 32)
    return min(longest_s, settings.retry_wait_max_s) * (0.5 + chance / 2)


def _at_once(number: int | None) -> NextTry | None:
    return None if number is None else NextTry(number=number)


def _pick(candidates: Sequence[Candidate], among: Sequence[int], chance: float) -> int | None:
    if not among:
        return None
    lowest = min(candidates[number].order for number in among)
    equals = [number for number in among if candidates[number].order == lowest]
    if len(equals) == 1:
        return equals[0]
    point = chance * sum(candidates[number].weight for number in equals)
    for number in equals:
        point -= candidates[number].weight
        if point < 0:
            return number
    return equals[-1]
