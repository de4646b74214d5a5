"""Schedules over HTTP and on the command line."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import aiohttp
import msgspec

from sophia.nouns.errors import ErrorInfo
from sophia.nouns.schedule import SCHEDULES_SNAPSHOT, SchedulesSnapshot, ScheduleState
from sophia.nouns.submission import Submission
from sophia.settings.model import ScheduleSettings
from tests.support.cli import run
from tests.support.clocks import moment_ms
from tests.support.gateways import HEADERS, OTHER_TENANT, TENANT, front_of_house
from tests.support.scripted_api import ScriptedApi, reply

TASK = Submission(type="light", payload={"prompt": "hi"})
AT = "2026-01-01T02:30:00Z"


def nightly(**changes: object) -> ScheduleSettings:
    return ScheduleSettings(**{"cron": "30 2 * * *", "tenant": TENANT, "task": TASK, **changes})  # type: ignore[arg-type]


async def test_a_tenants_schedules_with_their_last_and_next_run(redis_url: str, tmp_path: Path) -> None:
    schedules = {
        "fine": nightly(time_zone="Europe/Berlin"),
        "refused": nightly(),
        "off": nightly(enabled=False),
        "foreign": nightly(tenant=OTHER_TENANT),
    }
    done = ScheduleState(cron="30 2 * * *", time_zone="UTC", done_until_ms=moment_ms(AT), last_ms=moment_ms(AT))
    states = {
        "fine": msgspec.structs.replace(done, last_task_id="t1"),
        "refused": msgspec.structs.replace(done, last_error=ErrorInfo(code="budget_exceeded", message="too dear")),
    }
    async with front_of_house(redis_url, tmp_path, changes={"schedules": schedules}) as platform:
        body = msgspec.json.encode(SchedulesSnapshot(schedules=states))
        await platform.events.put_snapshot(SCHEDULES_SNAPSHOT, body)
        async with aiohttp.ClientSession(platform.url, headers=HEADERS) as session:
            async with session.get("/v1/schedules") as answer:
                assert answer.status == 200
                listed = (await answer.json())["schedules"]
    fine, refused, off = listed
    assert [row["name"] for row in listed] == ["fine", "refused", "off"]
    assert (fine["last_at"], fine["last_task_id"], fine["last_error"]) == (AT, "t1", None)
    assert datetime.fromisoformat(fine["next_at"]).minute == 30
    assert refused["last_error"]["message"] == "too dear"
    assert (off["next_at"], off["last_at"], off["enabled"]) == (None, None, False)


def test_the_command_shows_them(scripted_platform: ScriptedApi) -> None:
    row = {
        "name": "nightly",
        "cron": "30 2 * * *",
        "time_zone": "Europe/Berlin",
        "enabled": True,
        "type": "light",
        "next_at": "2999-01-01T00:00:00Z",
        "last_at": AT,
        "last_task_id": "t1",
        "last_error": None,
    }
    off = {**row, "name": "off", "enabled": False, "last_error": {"code": "budget_exceeded", "message": "too dear"}}
    scripted_platform.on("GET", "/v1/schedules", reply({"schedules": [row, off]}), reply({"schedules": []}))
    lines = run("schedules").stdout.splitlines()
    assert "30 2 * * * Europe/Berlin" in lines[1]
    assert lines[1].rstrip().endswith("t1")
    assert "disabled" in lines[2]
    assert "refused: too dear (budget_exceeded)" in lines[2]
    assert "no schedules" in run("schedules").stderr
