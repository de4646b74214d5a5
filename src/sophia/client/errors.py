"""What can go wrong between a client and the platform, on top of the errors every layer shares."""

from __future__ import annotations

from typing import Any

from sophia.nouns.errors import ErrorClass, SophiaError


class Unreachable(SophiaError):
    """Nothing answers at the address, or it stopped answering and did not come back."""

    code = "unreachable"
    error_class = ErrorClass.RETRYABLE


class NoPlatform(Unreachable):
    """No address was given and none was found."""

    code = "no_platform"


class Refused(SophiaError):
    """The platform answered with an error; ``code``, ``field`` and ``mend`` are its own words."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        detail = problem.get("detail") or problem.get("title") or f"the platform answered with status {status}"
        retry_after_s = problem.get("retry_after_s")
        super().__init__(
            str(detail),
            field=_text(problem.get("field")),
            mend=_text(problem.get("mend")),
            retry_after_s=float(retry_after_s) if isinstance(retry_after_s, int | float) else None,
        )
        self.status = status
        self.code = _text(problem.get("code")) or "error"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
