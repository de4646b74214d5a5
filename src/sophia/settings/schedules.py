"""What must hold of schedules, so that a mistake is found when the file is read and not at two in the morning."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from sophia.nouns.errors import InvalidInput
from sophia.settings.document import KeyPath
from sophia.settings.model import ScheduleSettings, Settings
from sophia.settings.payloads import checked_payload
from sophia.settings.shape import Fault, nearest

CRON_MEND = 'write five fields (minute, hour, day of month, month, day of week), as in "30 2 * * mon-fri"'


def schedule_faults(settings: Settings) -> Iterator[Fault]:
    tenants = {"default", *settings.tenants, *(key.tenant for key in settings.auth.api_keys)}
    for name, schedule in settings.schedules.items():
        path = ("schedules", name)
        yield from _cron((*path, "cron"), schedule.cron)
        yield from time_zone_faults((*path, "time_zone"), schedule.time_zone)
        if schedule.tenant not in tenants:
            yield Fault(
                path=(*path, "tenant"),
                what=f"names the tenant {schedule.tenant!r}, which has neither a key nor an entry under tenants",
                mend=nearest(schedule.tenant, tenants),
            )
        yield from _task((*path, "task"), schedule, settings)


def _cron(path: KeyPath, cron: str) -> Iterator[Fault]:
    try:
        if next(CronSim(cron, datetime(2024, 1, 1, tzinfo=UTC)), None) is None:
            yield Fault(path=path, what="never comes", mend=CRON_MEND)
    except CronSimError as error:
        yield Fault(path=path, what=f"is not a cron expression: {str(error).lower()}", mend=CRON_MEND)


def time_zone_faults(path: KeyPath, name: str) -> Iterator[Fault]:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        yield Fault(
            path=path,
            what=f"is {name!r}, which is not a known time zone",
            mend="use a name such as America/Los_Angeles or UTC",
        )


def _task(path: KeyPath, schedule: ScheduleSettings, settings: Settings) -> Iterator[Fault]:
    for key in ("run_at", "deadline_at"):
        if getattr(schedule.task, key) is not None:
            yield Fault(
                path=(*path, key), what="is one moment, but a schedule comes again and again", mend="leave it out"
            )
    try:
        checked_payload(schedule.task, settings)
    except InvalidInput as error:
        field = (error.field,) if error.field else ()
        yield Fault(path=(*path, *field), what=f"is not right: {error.message}", mend=error.mend or "")
