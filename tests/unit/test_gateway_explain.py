"""What is said about a task in every state, and when it is expected to start."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from sophia.gateway.explain import STALE_MS, explain, mean_run_s
from sophia.nouns.errors import ErrorInfo
from sophia.nouns.pool import Instance, InstanceState, PoolsSnapshot, PoolStatus
from sophia.nouns.task import Attempt, AttemptOutcome, Priority, TaskRecord, TaskState
from sophia.nouns.usage import Usage
from sophia.queue.base import Wait
from tests.support.tasks import make_task

NOW_MS = 1_767_225_600_000
ERROR = ErrorInfo(code="unavailable", message="no answer")
TRIED = (Attempt(number=1, worker="w1", pool="cpu", started_at_ms=NOW_MS - 3_000, usage=Usage(run_s=2)),)


def record(state: TaskState, task: dict[str, Any] | None = None, **changes: Any) -> TaskRecord:
    made = make_task(**{"submitted_at_ms": NOW_MS - 10_000, **(task or {})})
    return TaskRecord(**{"task": made, "state": state, "updated_at_ms": NOW_MS, **changes})


def snapshot(
    *busy: int | None, slots: int = 2, pool_max: int = 2, at_ms: int = NOW_MS, **changes: Any
) -> PoolsSnapshot:
    instances = tuple(
        Instance(
            id=f"i{number}", pool="cpu", state=InstanceState.READY, requested_at_ms=NOW_MS, busy=count, slots=slots
        )
        for number, count in enumerate(busy)
    )
    fields: dict[str, Any] = {
        "name": "cpu",
        "provider": "local",
        "streams": ("light",),
        "min": 0,
        "max": pool_max,
        "idle_timeout_s": 60.0,
        "desired": 1,
        "reason": "two wait",
        "waiting": 1,
        "running": 1,
        "instances": instances,
    }
    return PoolsSnapshot(at_ms=at_ms, pools=(PoolStatus(**{**fields, **changes}),))


def queued(ahead: int | None) -> Wait:
    return Wait(state=TaskState.QUEUED, ahead=ahead)


def test_free_slots_mean_now() -> None:
    answer = explain(record(TaskState.QUEUED), queued(1), snapshot(0, 2), task_s=None, now_ms=NOW_MS)
    assert answer.position == 1
    assert answer.expected_start_at == datetime.fromtimestamp(NOW_MS / 1000, UTC)
    assert answer.basis == "2 of 4 slots are free"
    assert answer.summary.endswith("Pool cpu serves it with 4 slots, 2 of them free. Its plan: two wait.")


def test_the_wait_follows_from_the_mean_run_and_the_slots() -> None:
    answer = explain(record(TaskState.QUEUED), queued(3), snapshot(2, 2), task_s=6.0, now_ms=NOW_MS)
    assert answer.expected_start_at == datetime.fromtimestamp(NOW_MS / 1000 + 6.0, UTC)
    assert answer.basis == "3 ahead, 4 slots, 6.0 s a task on average of recent ones"
    assert answer.would_help == [
        "a higher priority (critical, high)",
        "a higher `max` of pool cpu (now 2, all in use)",
    ]


@pytest.mark.parametrize(
    ("ahead", "pools", "task_s", "said"),
    [
        (None, snapshot(2), 6.0, "its place in the queue is not known"),
        (0, None, 6.0, "the pool manager has not reported lately"),
        (0, snapshot(0, at_ms=NOW_MS - STALE_MS - 1), 6.0, "the pool manager has not reported lately"),
        (0, snapshot(), 6.0, "no instance that serves its stream is ready"),
        (0, snapshot(2), None, "no task of its stream has finished lately"),
        (0, snapshot(0, streams=("research",)), 6.0, "no instance that serves its stream is ready"),
    ],
)
def test_what_is_not_known_is_said_not_guessed(
    ahead: int | None, pools: PoolsSnapshot | None, task_s: float | None, said: str
) -> None:
    answer = explain(record(TaskState.QUEUED), queued(ahead), pools, task_s=task_s, now_ms=NOW_MS)
    assert answer.expected_start_at is None
    assert answer.basis.startswith("unknown: ")
    assert said in answer.basis


def test_an_instance_that_has_not_reported_does_not_count_as_free() -> None:
    answer = explain(record(TaskState.QUEUED), queued(0), snapshot(None), task_s=6.0, now_ms=NOW_MS)
    assert answer.expected_start_at == datetime.fromtimestamp(NOW_MS / 1000 + 3.0, UTC)


def test_starting_instances_are_mentioned() -> None:
    booting = Instance(id="i", pool="cpu", state=InstanceState.BOOTING, requested_at_ms=NOW_MS)
    answer = explain(record(TaskState.QUEUED), queued(0), snapshot(instances=(booting,)), task_s=1.0, now_ms=NOW_MS)
    assert answer.basis.endswith("; 1 starting")
    assert "1 instance starting" in answer.summary


def test_a_stream_that_no_pool_serves() -> None:
    answer = explain(record(TaskState.QUEUED), queued(0), snapshot(0, streams=("research",)), task_s=1.0, now_ms=NOW_MS)
    assert "No pool serves this stream." in answer.summary
    assert answer.would_help == ["a pool that lists `light` among its streams"]


def test_a_deadline_is_pointed_out_and_the_highest_priority_cannot_rise() -> None:
    task = {"priority": Priority.CRITICAL, "deadline_at_ms": NOW_MS + 5_000}
    answer = explain(record(TaskState.QUEUED, task), queued(5), snapshot(2), task_s=1.0, now_ms=NOW_MS)
    assert answer.would_help == ["note: it fails when it has not started by 2026-01-01 00:00:05 UTC"]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (record(TaskState.SCHEDULED, due_at_ms=NOW_MS + 1_000), "no earlier than 2026-01-01 00:00:01 UTC"),
        (record(TaskState.RUNNING, attempts=TRIED), "Attempt 1 runs on w1 of pool cpu for 3.0 s."),
        (record(TaskState.RUNNING, attempts=TRIED, cancel_requested=True), "It was asked to stop."),
        (
            record(TaskState.RETRYING, attempts=TRIED, error=ERROR, due_at_ms=NOW_MS + 1_000),
            "1 attempt did not succeed (unavailable: no answer). The next one is due at 2026-01-01 00:00:01 UTC",
        ),
        (
            record(TaskState.SUCCEEDED, attempts=TRIED, finished_at_ms=NOW_MS),
            "succeeded after 1 attempt, 10.0 s after it was submitted",
        ),
        (record(TaskState.FAILED, attempts=TRIED, error=ERROR), "a retry would not mend (unavailable: no answer)"),
        (record(TaskState.CANCELLED), "It was cancelled after 0 attempts."),
        (record(TaskState.DEAD, attempts=TRIED * 3, error=ERROR), "given up after 3 attempts of at most 3"),
    ],
)
def test_every_other_state_is_told_in_words(made: TaskRecord, said: str) -> None:
    answer = explain(made, None, snapshot(0), task_s=1.0, now_ms=NOW_MS)
    assert said in answer.summary
    assert answer.position is None
    assert (answer.expected_start_at is None) == (made.due_at_ms is None)


def test_the_mean_is_of_last_attempts() -> None:
    slow = Attempt(number=2, worker="w", started_at_ms=NOW_MS, outcome=AttemptOutcome.SUCCEEDED, usage=Usage(run_s=4))
    assert (
        mean_run_s([record(TaskState.SUCCEEDED, attempts=TRIED), record(TaskState.DEAD, attempts=(*TRIED, slow))]) == 3
    )
    assert mean_run_s([]) is None
