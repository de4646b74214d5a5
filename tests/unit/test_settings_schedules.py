"""Schedules in sophia.yaml: what is accepted, and what is refused when the file is read."""

from __future__ import annotations

from pathlib import Path
from textwrap import indent

import pytest

from sophia.nouns.errors import ConfigError
from sophia.settings.load import merged_settings

GOOD = 'cron: "30 2 * * mon-fri"\ntask: {type: light, payload: {prompt: hi}}'


def read(tmp_path: Path, schedule: str):
    path = tmp_path / "sophia.yaml"
    path.write_text("schedules:\n  nightly:\n" + indent(schedule, "    "))
    return merged_settings(path, {}, "local").schedules["nightly"]


def test_what_is_left_out(tmp_path: Path) -> None:
    schedule = read(tmp_path, GOOD)
    assert (schedule.time_zone, schedule.tenant, schedule.enabled, schedule.catch_up) == ("UTC", "default", True, 1)
    assert schedule.task.payload == {"prompt": "hi"}


def test_everything(tmp_path: Path) -> None:
    task = "{type: light, payload: {prompt: hi}, tier: quality, priority: low, labels: {a: b}, max_attempts: 2}"
    schedule = read(
        tmp_path,
        f'cron: "*/5 * * * * *"\ntime_zone: Europe/Berlin\ntenant: default\nenabled: false\ncatch_up: 0\ntask: {task}',
    )
    assert (schedule.task.priority, schedule.task.labels, schedule.enabled) == ("low", {"a": "b"}, False)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("30 2 * * mon-fri", "30 2 * *", "schedules.nightly.cron is not a cron expression: wrong number of fields; write five"),
        ("30 2 * * mon-fri", "61 2 * * *", "schedules.nightly.cron is not a cron expression: bad minute"),
        ("30 2 * * mon-fri", "0 0 31 2 *", "schedules.nightly.cron is not a cron expression: bad day-of-month"),
        ("30 2 * * mon-fri", "0 0 * 2 mon#5", ""),
        ("30 2 * * mon-fri", "0 0 30 2 mon", ""),
        ("task:", "time_zone: Europe/Atlantis\ntask:", "schedules.nightly.time_zone is 'Europe/Atlantis', which is not a known"),
        ("task:", "tenant: acme\ntask:", "schedules.nightly.tenant names the tenant 'acme', which has neither a key"),
        ("task:", "catch_up: 101\ntask:", "schedules.nightly.catch_up must be a whole number <= 100"),
        ("task:", "every: day\ntask:", "schedules.nightly.every is not a known key"),
        ("light", "lihgt", "schedules.nightly.task.type is not right: there is no task type 'lihgt'; did you mean light?"),
        ("prompt: hi", "promt: hi", "schedules.nightly.task.payload.promt is not right: Object contains unknown"),
        ("prompt: hi", "prompt: hi, model: none", "schedules.nightly.task.payload.model is not right: there is no model 'none'"),
        ("type: light", "type: light, priority: hihg", "schedules.nightly.task.priority is not a known value; did you mean 'high'?"),
        ("type: light", "type: light, tier: best", "schedules.nightly.task.tier is not a known value"),
        ("type: light", "type: light, labels: {" + ", ".join(f"k{n}: v" for n in range(17)) + "}", "schedules.nightly.task.labels"),
        ("type: light", 'type: light, run_at: "2026-01-01T00:00:00Z"', "schedules.nightly.task.run_at is one moment"),
        ("type: light", "type: light, deadline_at: tomorrow", "schedules.nightly.task.deadline_at"),
    ],
)  # fmt: skip
def test_mistakes_are_named(tmp_path: Path, before: str, after: str, expected: str) -> None:
    changed = GOOD.replace(before, after)
    assert changed != GOOD
    if not expected:
        read(tmp_path, changed)
        return
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, changed)
    assert expected in refused.value.message
