"""Fly's refusals as errors of ours. The API tells most of it by HTTP status; only capacity has a code."""

from __future__ import annotations

import re
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
from sophia.providers.fly.wire import Refusal

BY_STATUS: Mapping[int, type[SophiaError]] = {
    400: InvalidInput,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    408: Unavailable,
    409: Conflict,
    412: Conflict,
    422: InvalidInput,
}
"""409: leased by somebody else, or a name that is taken. 412: not in a state for that."""
DEFAULT_RETRY_AFTER_S = 2.0
LONGEST_RETRY_AFTER_S = 600.0
_QUOTA = re.compile(
    r"\b(quota|limit)\b.*\b(reached|exceeded)\b|\b(reached|exceeded)\b.*\b(quota|limit)\b", re.IGNORECASE
)
_CAPACITY = re.compile(r"insufficient (capacity|resources)|could not reserve resource", re.IGNORECASE)


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> SophiaError:
    """The error for an answer that is no success."""
    if status == 429:
        return RateLimited("Fly limits the rate of requests", retry_after_s=_retry_after_s(headers))
    said = _said(body)
    words = f"Fly: {said.error}" if said.error else f"Fly answered with status {status}"
    if said.status == "insufficient_capacity" or _CAPACITY.search(said.error):
        return InsufficientCapacity(words)
    if status in (403, 422) and _QUOTA.search(said.error):
        return QuotaExceeded(words, mend="ask Fly for more, or destroy machines that nobody needs")
    if status >= 500:
        return Unavailable(words)
    kind = BY_STATUS.get(status)
    return kind(words) if kind is not None else UpstreamError(words, status=status)


def _said(body: bytes) -> Refusal:
    try:
        return msgspec.json.decode(body, type=Refusal)
    except msgspec.DecodeError:
        return Refusal()


def _retry_after_s(headers: Mapping[str, str]) -> float:
    try:
        return min(max(float(headers.get("retry-after", "")), 0.5), LONGEST_RETRY_AFTER_S)
    except ValueError:
        return DEFAULT_RETRY_AFTER_S
