"""The mean run of tasks, as workers' reports tell it."""

from __future__ import annotations

import pytest

from sophia.pools.pace import Pace
from sophia.queue.base import WorkerBeat

NOW = 1_700_000_000_000


def beat(busy: int, done: int, *, worker: str = "a", started: int = NOW) -> WorkerBeat:
    return WorkerBeat(worker=worker, pool="cpu", state="ready", busy=busy, slots=4, started_at_ms=started, done=done)


def test_it_is_unknown_until_a_task_was_seen_to_finish():
    pace = Pace()
    pace.look([beat(1, 5)], NOW)
    assert pace.task_s is None
    pace.look([beat(1, 5)], NOW + 1000)
    assert pace.task_s is None


def test_slot_seconds_over_finished_tasks():
    pace = Pace()
    for second in range(200):
        pace.look([beat(4, second), beat(4, second, worker="b")], NOW + second * 1000)
    assert pace.task_s == pytest.approx(4.0)


def test_it_follows_a_change_of_pace():
    pace = Pace()
    for second in range(1200):
        done = second if second < 600 else 600 + (second - 600) // 10
        pace.look([beat(2, done)], NOW + second * 1000)
    assert pace.task_s is not None
    assert 15 < pace.task_s <= 20


def test_a_restarted_worker_and_a_long_gap_are_not_counted():
    pace = Pace()
    pace.look([beat(1, 100)], NOW)
    pace.look([beat(1, 0, started=NOW + 1)], NOW + 1000)
    pace.look([beat(1, 500, started=NOW + 1)], NOW + 1_000_000)
    assert pace.task_s is None
