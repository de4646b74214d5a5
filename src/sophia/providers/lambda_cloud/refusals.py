"""Lambda's error codes as errors of ours. Codes decide, since its messages may change; statuses only where there is no
code that is known."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from sophia.nouns.errors import (
    Conflict,
    Forbidden,
    InsufficientCapacity,
    InvalidInput,
    NotFound,
    QuotaExceeded,
    RateLimited,
    SophiaError,
    Unauthorized,
    Unavailable,
    UpstreamError,
)
from sophia.providers.lambda_cloud.wire import Failed, Refusal

BY_CODE: Mapping[str, type[SophiaError]] = {
    "instance-operations/launch/insufficient-capacity": InsufficientCapacity,
    "instance-operations/launch/file-system-in-wrong-region": InvalidInput,
    "global/quota-exceeded": QuotaExceeded,
    "global/invalid-api-key": Unauthorized,
    "global/account-inactive": Forbidden,
    "global/invalid-address": Forbidden,
    "global/forbidden": Forbidden,
    "global/invalid-parameters": InvalidInput,
    "global/object-does-not-exist": NotFound,
    "global/not-found": NotFound,
    "global/duplicate": Conflict,
    "global/conflict": Conflict,
    "global/internal-error": Unavailable,
}
PROVIDER_PREFIX = "provider/"
"""Errors from behind Lambda: nobody knows what was done."""
DEFAULT_RETRY_AFTER_S = 12.0
LONGEST_RETRY_AFTER_S = 600.0


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> SophiaError:
    """The error for an answer that is no success."""
    if status == 429:
        return RateLimited("Lambda limits the rate of the account's requests", retry_after_s=_retry_after_s(headers))
    said = _said(body)
    words = f"Lambda: {said.message} ({said.code})" if said else f"Lambda answered with status {status}"
    mend = said.suggestion or None if said else None
    if said is not None and said.code.startswith(PROVIDER_PREFIX):
        return Unavailable(words, mend=mend)
    kind = BY_CODE.get(said.code) if said is not None else None
    if kind is not None:
        return kind(words, mend=mend)
    if status >= 500 or status == 408:
        return Unavailable(words, mend=mend)
    if status == 401:
        return Unauthorized(words, mend=mend)
    if status == 403:
        return Forbidden(words, mend=mend)
    return UpstreamError(words, status=status)


def _said(body: bytes) -> Refusal | None:
    """``None``: not an answer of the API itself (a proxy in front of it)."""
    try:
        return msgspec.json.decode(body, type=Failed).error
    except msgspec.DecodeError:
        return None


def _retry_after_s(headers: Mapping[str, str]) -> float:
    """Seconds; HTTP dates are not tried, since clocks differ."""
    given = headers.get("retry-after", "")
    try:
        return min(max(float(given), 1.0), LONGEST_RETRY_AFTER_S)
    except ValueError:
        return DEFAULT_RETRY_AFTER_S
