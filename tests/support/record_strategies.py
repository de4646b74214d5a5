"""Hypothesis strategies: any task record, and the histories that a queue makes."""

from __future__ import annotations

import uuid

import msgspec
from hypothesis import strategies as st

from sophia.nouns.budget import Budget
from sophia.nouns.errors import ErrorClass, ErrorInfo
from sophia.nouns.task import Attempt, AttemptOutcome, Priority, Route, Target, Task, TaskRecord, TaskState, Tier
from sophia.nouns.usage import Usage
from tests.support.records import attempt, queued

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
names = words.filter(bool)
times = st.integers(0, 2**45)
counts = st.integers(0, 2**53)
seconds = st.floats(0, 1e9)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=8,
)
error_infos = st.builds(
    ErrorInfo,
    code=words,
    message=st.text(st.characters(exclude_categories=["Cs"]), max_size=50),
    error_class=st.sampled_from(ErrorClass),
    retry_after_s=st.none() | seconds,
)
usages = st.builds(
    Usage,
    input_tokens=counts,
    output_tokens=counts,
    embedding_tokens=counts,
    model_calls=counts,
    run_s=seconds,
    cost_nano_usd=counts,
)
attempts = st.builds(
    Attempt,
    number=st.just(0),
    worker=words,
    pool=words,
    started_at_ms=times,
    ended_at_ms=st.none() | times,
    outcome=st.sampled_from(AttemptOutcome),
    error=st.none() | error_infos,
    usage=usages,
)
tasks = st.builds(
    Task,
    id=st.builds(lambda: uuid.uuid4().hex),
    type=names,
    payload=st.dictionaries(words, json_values, max_size=4),
    route=st.builds(Route, stream=names, target=st.sampled_from(Target), reason=words),
    submitted_at_ms=times,
    tenant=names,
    tier=st.sampled_from(Tier),
    priority=st.sampled_from(Priority),
    budget=st.builds(Budget, max_usd=st.none() | st.floats(0, 1e6), max_tokens=st.none() | counts.filter(bool)),
    run_at_ms=st.none() | times,
    deadline_at_ms=st.none() | times,
    timeout_s=st.none() | seconds,
    max_attempts=st.integers(1, 100),
    idempotency_key=st.none() | words,
    labels=st.dictionaries(words, words, max_size=3),
)
records = st.builds(
    TaskRecord,
    task=tasks,
    state=st.sampled_from(TaskState),
    attempts=st.lists(attempts, max_size=4).map(
        lambda made: tuple(msgspec.structs.replace(one, number=number) for number, one in enumerate(made, start=1))
    ),
    updated_at_ms=times,
    due_at_ms=st.none() | times,
    finished_at_ms=st.none() | times,
    result=json_values,
    error=st.none() | error_infos,
    cancel_requested=st.booleans(),
)
"""Any record at all, whether its fields go together or not."""


@st.composite
def histories(draw: st.DrawFn) -> list[TaskRecord]:
    """The versions of one task's record as a queue makes them, oldest first: attempts that follow each other, often
    within a millisecond, a final state, and sometimes a redrive, which is always later than what it undoes.
    The tenant has no other task."""
    task = draw(tasks)
    task = msgspec.structs.replace(task, tenant=task.id)
    at_ms = draw(times)
    step = st.integers(0, 2)
    done: tuple[Attempt, ...] = ()
    versions = [queued(task, at_ms)]
    for number in range(1, draw(st.integers(1, 4)) + 1):
        at_ms += draw(step)
        running = attempt(number, started_at_ms=at_ms)
        versions.append(TaskRecord(task=task, state=TaskState.RUNNING, attempts=(*done, running), updated_at_ms=at_ms))
        at_ms += draw(step)
        final = draw(st.booleans())
        ended = attempt(number, at_ms, started_at_ms=running.started_at_ms, usage=draw(usages))
        done = (*done, ended)
        versions.append(
            TaskRecord(
                task=task,
                state=TaskState.DEAD if final else TaskState.RETRYING,
                attempts=done,
                updated_at_ms=at_ms,
                finished_at_ms=at_ms if final else None,
                result=draw(json_values) if final else None,
            )
        )
        if final:
            at_ms += 1 + draw(step)
            versions.append(TaskRecord(task=task, state=TaskState.QUEUED, attempts=done, updated_at_ms=at_ms))
    return versions
