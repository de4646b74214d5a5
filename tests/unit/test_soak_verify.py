"""What the soak calls wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from soak.handlers import result_text
from soak.journal import Entry
from soak.plan import ENDS, WEIGHTS, Fate, Job, cost_of, make_plan, tokens_of
from soak.verify import Facts, problems
from sophia.nouns.errors import ErrorInfo
from sophia.nouns.task import Attempt, AttemptOutcome, Durability, Priority, TaskRecord, TaskState
from sophia.nouns.usage import Usage


def job(fate: Fate = Fate.SUCCEEDS) -> Job:
    return Job(
        number=5,
        fate=fate,
        tenant="acme",
        priority=Priority.NORMAL,
        stream="light",
        work_ms=1,
        failures=0,
        cancel_after_s=0.0,
    )


def attempt(number: int, outcome: AttemptOutcome) -> Attempt:
    read, written = tokens_of(5, number)
    usage = Usage(input_tokens=read, output_tokens=written, model_calls=1, cost_nano_usd=cost_of(5, number))
    lost = outcome is AttemptOutcome.LOST
    return Attempt(number=number, worker="w", started_at_ms=1, outcome=outcome, usage=Usage() if lost else usage)


def good() -> Facts:
    """A task whose first attempt was lost: its worker came to an end all the same, and was refused."""
    attempts = (attempt(1, AttemptOutcome.LOST), attempt(2, AttemptOutcome.SUCCEEDED))
    record = TaskRecord(
        task=job().task(1_000, Durability.QUEUE),
        state=TaskState.SUCCEEDED,
        attempts=attempts,
        updated_at_ms=9,
        result={"text": result_text(5, 2, 42)},
    )
    journal = [
        Entry(task=5, attempt=1, pid=41, what="begin"),
        Entry(task=5, attempt=2, pid=42, what="begin"),
        Entry(task=5, attempt=2, pid=42, what="result"),
        Entry(task=5, attempt=1, pid=41, what="result"),
    ]
    return Facts(
        jobs=[job()],
        records={job().task_id: record},
        journal=journal,
        final_events={job().task_id: ["task.succeeded"]},
        usage=record.usage,
    )


def words(facts: Facts) -> str:
    return "\n".join(problem.what for problem in problems(facts))


def test_a_good_run_has_no_problems() -> None:
    assert problems(good()) == []


def changed(facts: Facts, **fields: Any) -> None:
    task_id = job().task_id
    facts.records = {task_id: msgspec.structs.replace(facts.records[task_id], **fields)}


def lose(facts: Facts) -> None:
    facts.records = {}
    facts.usage = Usage()


def commit_twice(facts: Facts) -> None:
    attempts = (attempt(1, AttemptOutcome.SUCCEEDED), attempt(2, AttemptOutcome.SUCCEEDED))
    changed(facts, attempts=attempts)


def commit_another_result(facts: Facts) -> None:
    changed(facts, result={"text": result_text(5, 1, 41)})


def end_otherwise(facts: Facts) -> None:
    changed(facts, state=TaskState.FAILED, error=ErrorInfo(code="timed_out", message="too long"))


def run_on(facts: Facts) -> None:
    facts.journal = [*facts.journal, Entry(task=5, attempt=3, pid=43, what="begin")]


def run_an_attempt_twice(facts: Facts) -> None:
    facts.journal = [*facts.journal, Entry(task=5, attempt=2, pid=44, what="begin")]


def announce_twice(facts: Facts) -> None:
    facts.final_events = {job().task_id: ["task.succeeded", "task.succeeded"]}


def charge_too_much(facts: Facts) -> None:
    facts.usage = msgspec.structs.replace(facts.usage, cost_nano_usd=facts.usage.cost_nano_usd + 1)


def add_a_stranger(facts: Facts) -> None:
    facts.records = {**facts.records, "f" * 32: facts.records[job().task_id]}


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lose, "lost"),
        (commit_twice, "2 results"),
        (commit_another_result, "not that of attempt 2"),
        (end_otherwise, "must end succeeded"),
        (run_on, "attempt 3 ran"),
        (run_an_attempt_twice, "ran twice"),
        (announce_twice, "final events"),
        (charge_too_much, "cost_nano_usd"),
        (add_a_stranger, "never accepted"),
    ],
)
def test_what_is_wrong_is_said(break_it: Callable[[Facts], None], said: str) -> None:
    facts = good()
    break_it(facts)
    assert said in words(facts)


def test_a_lost_queue_may_have_lost_attempts_and_events_but_no_result() -> None:
    facts = good()
    facts.queue_was_lost = True
    # The first attempt's number was given a second time; the log of events is gone.
    run_an_attempt_twice(facts)
    facts.final_events = {}
    assert problems(facts) == []
    commit_another_result(facts)
    assert "not that of attempt 2" in words(facts)


def test_a_plan_follows_from_its_seed_and_has_every_end() -> None:
    plan = make_plan(7, 2_000)
    assert plan == make_plan(7, 2_000)
    assert plan != make_plan(8, 2_000)
    assert {one.fate for one in plan} == set(WEIGHTS)
    assert len({one.task_id for one in plan}) == 2_000
    assert set(ENDS) == set(Fate)
