"""Schedules: what comes next, and how the last one went."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from sophia.decisions.schedule import next_occurrence
from sophia.gateway.deps import Call
from sophia.gateway.responses import json_answer
from sophia.gateway.schemas import ScheduleList, ScheduleView
from sophia.gateway.views import at_or_none, error_view
from sophia.nouns.schedule import SCHEDULES_SNAPSHOT, SchedulesSnapshot, ScheduleState
from sophia.settings.model import ScheduleSettings


async def list_schedules(call: Call) -> Response:
    body = await call.deps.events.snapshot(SCHEDULES_SNAPSHOT)
    states = msgspec.json.decode(body, type=SchedulesSnapshot).schedules if body else {}
    now_ms = call.deps.clock.now_ms()
    views = [
        _view(name, schedule, states.get(name), now_ms)
        for name, schedule in call.settings.schedules.items()
        if schedule.tenant == call.tenant
    ]
    return json_answer(ScheduleList(schedules=views))


def _view(name: str, schedule: ScheduleSettings, state: ScheduleState | None, now_ms: int) -> ScheduleView:
    next_ms = next_occurrence(schedule.cron, schedule.time_zone, now_ms) if schedule.enabled else None
    return ScheduleView(
        name=name,
        cron=schedule.cron,
        time_zone=schedule.time_zone,
        enabled=schedule.enabled,
        catch_up=schedule.catch_up,
        type=schedule.task.type,
        priority=schedule.task.priority,
        next_at=at_or_none(next_ms),
        last_at=at_or_none(state.last_ms) if state else None,
        last_task_id=state.last_task_id if state else None,
        last_error=error_view(state.last_error) if state else None,
    )
