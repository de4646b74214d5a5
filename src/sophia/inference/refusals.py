"""What a provider's refusal means to us: its HTTP errors as errors of our tree."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from sophia.nouns.errors import RateLimited, SophiaError, Unavailable, UpstreamError

MESSAGE_CHARACTERS = 500


def refusal(provider: str, status: int, headers: Mapping[str, str], body: bytes) -> SophiaError:
    """The error for an answer with ``status``: ``RateLimited`` on 429, ``Unavailable`` on 408 and 5xx (but for 501),
    else ``UpstreamError`` with the status and, as ``field``, the parameter the provider named."""
    message, parameter = _reason(body)
    text = f"{provider} answered {status}: {message}" if message else f"{provider} answered {status}"
    wait_s = retry_after_s(headers.get("retry-after"))
    if status == 429:
        return RateLimited(text, retry_after_s=wait_s)
    if status == 408 or (status >= 500 and status != 501):
        return Unavailable(text, retry_after_s=wait_s)
    return UpstreamError(text, status=status, field=parameter)


def refusal_in_stream(provider: str, error: Any) -> SophiaError:
    """The error for one that came after the stream had begun, when the status had already been 200."""
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    return refusal(provider, status, {}, msgspec.json.encode({"error": error}))


def _reason(body: bytes) -> tuple[str, str | None]:
    try:
        document = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return body.decode("utf-8", "replace").strip()[:MESSAGE_CHARACTERS], None
    error = document.get("error", document) if isinstance(document, dict) else document
    if not isinstance(error, dict):
        return str(error)[:MESSAGE_CHARACTERS], None
    message = error.get("message") or error.get("detail") or document
    parameter = error.get("param")
    return str(message)[:MESSAGE_CHARACTERS], parameter if isinstance(parameter, str) else None


def retry_after_s(value: str | None) -> float | None:
    """Seconds, or a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())
