"""What follows when an attempt ends with an error."""

from __future__ import annotations

import msgspec

from sophia.nouns.errors import ErrorClass, ErrorInfo
from sophia.nouns.task import AttemptOutcome
from sophia.settings.model import RetrySettings

MIN_RETRY_S = 0.05


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """``RETRYING`` with the time to wait, ``FAILED`` (no retry would help) or ``DEAD`` (attempts used up)."""

    outcome: AttemptOutcome
    retry_in_s: float = 0.0


def backoff_s(attempt: int, settings: RetrySettings, chance: float) -> float:
    """Exponential backoff with full jitter: ``chance`` in [0, 1) times ``base_s * 2^(attempt - 1)``, at most ``max_s``.

    Full jitter spreads retries that failed together over the whole interval (Brooker, "Exponential Backoff And
    Jitter", AWS Architecture Blog, 2015).
    """
    exponent = min(max(attempt, 1) - 1, 62)
    return max(MIN_RETRY_S, chance * min(settings.max_s, settings.base_s * 2.0**exponent))


def after_error(
    error: ErrorInfo, *, attempts_counted: int, max_attempts: int, settings: RetrySettings, chance: float
) -> Verdict:
    """Permanent errors fail at once; a provider's Retry-After is honoured and gets jitter on top."""
    if error.error_class is ErrorClass.PERMANENT:
        return Verdict(outcome=AttemptOutcome.FAILED)
    if attempts_counted >= max_attempts:
        return Verdict(outcome=AttemptOutcome.DEAD)
    pause_s = backoff_s(attempts_counted, settings, chance)
    if error.retry_after_s is not None:
        pause_s += error.retry_after_s
    return Verdict(outcome=AttemptOutcome.RETRYING, retry_in_s=pause_s)
