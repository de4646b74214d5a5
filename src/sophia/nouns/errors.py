"""The one error tree. Adapters translate their drivers' errors into it at their edge."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class ErrorClass(StrEnum):
    """What a retry can be expected to do."""

    RETRYABLE = "retryable"
    PERMANENT = "permanent"
    RATE_LIMITED = "rate_limited"


class ErrorInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error as data, as it is stored with an attempt and shown to users."""

    code: str
    message: str
    error_class: ErrorClass = ErrorClass.PERMANENT
    retry_after_s: float | None = None


class SophiaError(Exception):
    """Base of every error that Sophia raises on purpose.

    ``field`` names the offending input (``payload.texts[3]``) and ``mend`` says what would be accepted.
    """

    code = "internal_error"
    error_class = ErrorClass.PERMANENT

    def __init__(
        self, message: str, *, field: str | None = None, mend: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.mend = mend
        self.retry_after_s = retry_after_s

    def info(self) -> ErrorInfo:
        return ErrorInfo(
            code=self.code, message=self.message, error_class=self.error_class, retry_after_s=self.retry_after_s
        )


class ConfigError(SophiaError):
    """The configuration file, an option or the environment is wrong."""

    code = "invalid_config"


class InvalidInput(SophiaError):
    """A request that can never be accepted as it stands."""

    code = "invalid_request"


class PayloadTooLarge(InvalidInput):
    code = "payload_too_large"


class Unauthorized(SophiaError):
    code = "unauthorized"


class Forbidden(SophiaError):
    """The caller is known, but may not do this."""

    code = "forbidden"


class NotFound(SophiaError):
    code = "not_found"


class Conflict(SophiaError):
    code = "conflict"


class BudgetExceeded(SophiaError):
    code = "budget_exceeded"


class DeadlineExceeded(SophiaError):
    """The task could not start before its deadline."""

    code = "deadline_exceeded"


class TimedOut(SophiaError):
    """An attempt ran longer than the task allows."""

    code = "timed_out"


class LeaseLost(SophiaError):
    """The attempt is no longer this worker's: its result must not be used."""

    code = "lease_lost"


class InvalidResult(SophiaError):
    """A model's answer did not have the promised form, after repair was tried."""

    code = "invalid_result"
    error_class = ErrorClass.RETRYABLE


class Unavailable(SophiaError):
    """Something we depend on does not answer now; the same call may succeed later."""

    code = "unavailable"
    error_class = ErrorClass.RETRYABLE


class StorageFull(Unavailable):
    """The disk or the memory of a store is used up."""

    code = "storage_full"


class ObjectMissing(SophiaError):
    """A stored value is referred to, but the object store does not have it."""

    code = "object_missing"


class ObjectDamaged(SophiaError):
    """A stored value is not what was stored."""

    code = "object_damaged"


class RateLimited(SophiaError):
    code = "rate_limited"
    error_class = ErrorClass.RATE_LIMITED


class InsufficientCapacity(SophiaError):
    """The provider has no such machine to give there now; elsewhere or later it may."""

    code = "insufficient_capacity"
    error_class = ErrorClass.RETRYABLE


class QuotaExceeded(SophiaError):
    """The account may have no more of this until its owner asks for more or gives some back."""

    code = "quota_exceeded"


class UpstreamError(SophiaError):
    """A model provider or fetched site answered with an error that a retry will not mend."""

    code = "upstream_error"

    def __init__(self, message: str, *, status: int | None = None, **kw: str | None) -> None:
        super().__init__(message, field=kw.get("field"), mend=kw.get("mend"))
        self.status = status


def error_info(error: BaseException) -> ErrorInfo:
    """Any exception as data; one that is not ours is a permanent ``handler_error`` named by its type."""
    if isinstance(error, SophiaError):
        return error.info()
    return ErrorInfo(code="handler_error", message=f"{type(error).__name__}: {error}")
