"""Our errors as HTTP answers: problem+json (RFC 9457), or OpenAI's shape under its paths."""

from __future__ import annotations

import math
from http import HTTPStatus

import msgspec
from starlette.responses import Response

from sophia.access.base import OverRate, Rate
from sophia.gateway.openai_schemas import OpenAIError, OpenAIProblem
from sophia.gateway.schemas import Problem
from sophia.nouns import errors as tree

CLIENT_GONE = 499
"""nginx's status for a client that left; only metrics see it."""

_STATUS: tuple[tuple[type[tree.SophiaError], int], ...] = (
    (tree.PayloadTooLarge, 413),
    (tree.InvalidInput, 422),
    (tree.Unauthorized, 401),
    (tree.Forbidden, 403),
    (tree.NotFound, 404),
    (tree.Conflict, 409),
    (tree.ObjectMissing, 410),
    (tree.BudgetExceeded, 402),
    (tree.RateLimited, 429),
    (tree.StorageFull, 507),
    (tree.Unavailable, 503),
    (tree.UpstreamError, 502),
    (tree.InvalidResult, 502),
    (tree.DeadlineExceeded, 504),
    (tree.TimedOut, 504),
)


class MalformedJson(tree.InvalidInput):
    """The body is not JSON at all."""

    code = "malformed_json"


class SlowBody(tree.InvalidInput):
    """The body did not arrive in time."""

    code = "request_timeout"


class UnknownModel(tree.NotFound):
    code = "model_not_found"


class MethodNotAllowed(tree.InvalidInput):
    code = "method_not_allowed"


class InternalError(tree.SophiaError):
    """A fault of ours; the log has the details."""


def status_of(error: tree.SophiaError) -> int:
    if isinstance(error, MalformedJson):
        return 400
    if isinstance(error, SlowBody):
        return 408
    if isinstance(error, MethodNotAllowed):
        return 405
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def answer(error: tree.SophiaError, *, openai: bool) -> Response:
    """The error as the kind of path has it, with ``Retry-After`` where a retry can help."""
    headers = {"Cache-Control": "no-store"}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    if isinstance(error, tree.Unauthorized):
        headers["WWW-Authenticate"] = 'Bearer realm="sophia"'
    if isinstance(error, OverRate):
        headers |= rate_headers((error.rate,))
    if openai:
        status, body = openai_error(error)
        return Response(msgspec.json.encode(body), status, headers, "application/json")
    return Response(msgspec.json.encode(problem(error)), status_of(error), headers, "application/problem+json")


def rate_headers(rates: tuple[Rate, ...]) -> dict[str, str]:
    """Each limit under OpenAI's names, and the first under those of the IETF's draft (ratelimit-headers-03)."""
    headers: dict[str, str] = {}
    for rate in rates:
        headers[f"x-ratelimit-limit-{rate.kind}"] = str(rate.limit)
        headers[f"x-ratelimit-remaining-{rate.kind}"] = str(rate.remaining)
        headers[f"x-ratelimit-reset-{rate.kind}"] = f"{rate.full_in_s:.3f}s"
    if rates:
        tightest = min(rates, key=lambda rate: rate.remaining / rate.limit)
        headers["RateLimit-Limit"] = str(tightest.limit)
        headers["RateLimit-Remaining"] = str(tightest.remaining)
        headers["RateLimit-Reset"] = f"{tightest.full_in_s:.0f}"
    return headers


def problem(error: tree.SophiaError) -> Problem:
    status = status_of(error)
    return Problem(
        type=f"urn:sophia:problem:{error.code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=error.message,
        code=error.code,
        field=error.field,
        mend=error.mend,
        retry_after_s=error.retry_after_s,
    )


def openai_error(error: tree.SophiaError) -> tuple[int, OpenAIProblem]:
    """The status and body that OpenAI's clients turn into their own exceptions."""
    status = status_of(error)
    if isinstance(error, tree.InvalidInput) and status == 422:
        status = 400
    message = error.message if error.mend is None else f"{error.message}; {error.mend}"
    code = "invalid_api_key" if isinstance(error, tree.Unauthorized) else error.code
    return status, OpenAIProblem(
        error=OpenAIError(message=message, type=_openai_type(status), param=error.field, code=code)
    )


def _openai_type(status: int) -> str:
    known = {401: "authentication_error", 402: "insufficient_quota", 429: "rate_limit_error"}
    return known.get(status, "invalid_request_error" if status < 500 else "server_error")
