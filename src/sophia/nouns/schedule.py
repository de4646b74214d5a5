"""How far schedules have come, as the leading router keeps it for its successors and for readers."""

from __future__ import annotations

import msgspec

from sophia.nouns.errors import ErrorInfo

SCHEDULES_SNAPSHOT = "schedules"


class ScheduleState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    cron: str
    time_zone: str
    done_until_ms: int
    """Occurrences up to this moment are dealt with."""
    last_ms: int | None = None
    """The occurrence that ran last."""
    last_task_id: str | None = None
    last_error: ErrorInfo | None = None
    """Why that occurrence was refused."""


class SchedulesSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    schedules: dict[str, ScheduleState]
