"""What a command's exit status says. Scripts rely on these."""

from __future__ import annotations

from typing import Any

from sophia.nouns.errors import SophiaError

OK = 0
FAILED = 1
USAGE = 2
CANCELLED = 3
TIMED_OUT = 4
UNREACHABLE = 5
ABANDONED = 75
"""A worker whose control plane is gone: its host ends (`EX_TEMPFAIL` of sysexits)."""
INTERRUPTED = 130

_TIMEOUT_CODES = frozenset({"deadline_exceeded", "timed_out"})


def of_task(task: dict[str, Any]) -> int:
    """The status for a task that has ended."""
    if task["state"] == "succeeded":
        return OK
    if task["state"] == "cancelled":
        return CANCELLED
    code = (task.get("error") or {}).get("code")
    return TIMED_OUT if code in _TIMEOUT_CODES else FAILED


def of_error(error: SophiaError) -> int:
    if error.code == "abandoned":
        return ABANDONED
    # Told apart by what they carry, so that no client code is imported for it.
    if error.code in ("unreachable", "no_platform", "unavailable"):
        return UNREACHABLE
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return USAGE if 400 <= status < 500 and status != 429 else FAILED
    return USAGE if error.code in ("invalid_config", "invalid_request", "not_found", "conflict") else FAILED
