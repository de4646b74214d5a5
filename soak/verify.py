"""What must hold after a run, whatever was broken during it. Pure: facts in, problems in words out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import msgspec

from soak.handlers import result_text
from soak.journal import Entry
from soak.plan import Job, cost_of
from sophia.nouns.task import Attempt, AttemptOutcome, TaskRecord, TaskState
from sophia.nouns.usage import Usage


class Facts(msgspec.Struct, kw_only=True):
    jobs: Sequence[Job]
    records: Mapping[str, TaskRecord]
    """What the ledger has, by task id."""
    journal: Sequence[Entry]
    final_events: Mapping[str, Sequence[str]]
    """Kinds of the final events seen, by task id."""
    usage: Usage
    """The ledger's sums over all tenants and days."""
    queue_was_lost: bool = False
    """With it went its event log and what it had not yet told the ledger: attempts that nobody knows of may have run,
    and their numbers are given again."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    what: str
    task_id: str | None = None


def problems(facts: Facts) -> list[Problem]:
    expected = {job.task_id for job in facts.jobs}
    found = [
        Problem(what="the ledger has a task that was never accepted", task_id=i)
        for i in facts.records.keys() - expected
    ]
    by_task: defaultdict[int, list[Entry]] = defaultdict(list)
    for entry in facts.journal:
        by_task[entry.task].append(entry)
    for job in facts.jobs:
        record = facts.records.get(job.task_id)
        if record is None:
            found.append(Problem(what="lost: the ledger does not have it", task_id=job.task_id))
            continue
        words = [
            *_end(job, record),
            *_attempts(record, gaps=facts.queue_was_lost),
            *_commits(job, record, by_task[job.number]),
        ]
        if not facts.queue_was_lost:
            words += _runs(record, by_task[job.number])
            words += _events(record, facts.final_events.get(job.task_id, ()))
        found += [Problem(what=each, task_id=job.task_id) for each in words]
    return [*found, *_sums(facts)]


def _end(job: Job, record: TaskRecord) -> list[str]:
    code = record.error.code if record.error else None
    if record.state is not job.end:
        return [f"{job.fate}: must end {job.end}, is {record.state} ({code})"]
    codes = job.error_codes
    if (codes is None and code is not None) or (codes is not None and code not in codes):
        return [f"{job.fate}: must end with the error {codes}, has {code}"]
    return []


def _attempts(record: TaskRecord, *, gaps: bool) -> list[str]:
    wrong = []
    numbers = [attempt.number for attempt in record.attempts]
    if numbers != (sorted(set(numbers)) if gaps else list(range(1, len(numbers) + 1))):
        wrong.append(f"attempts are numbered {numbers}")
    outcomes = [attempt.outcome for attempt in record.attempts]
    results = outcomes.count(AttemptOutcome.SUCCEEDED)
    if results != (record.state is TaskState.SUCCEEDED) or AttemptOutcome.RUNNING in outcomes:
        wrong.append(f"{results} results were committed, the task {record.state}: {[str(each) for each in outcomes]}")
    return wrong


def _runs(record: TaskRecord, entries: Sequence[Entry]) -> list[str]:
    """What ran is what the queue's history has."""
    wrong = []
    begun = [entry.attempt for entry in entries if entry.what == "begin"]
    if len(begun) != len(set(begun)):
        wrong.append(f"an attempt ran twice: {sorted(begun)}")
    if begun and max(begun) > len(record.attempts):
        wrong.append(f"attempt {max(begun)} ran, but its history has {len(record.attempts)}")
    return wrong


def _commits(job: Job, record: TaskRecord, entries: Sequence[Entry]) -> list[str]:
    """What the queue has of an attempt is what its handler came to."""
    wrong = []
    for attempt in record.attempts:
        ends = [entry for entry in entries if entry.attempt == attempt.number and entry.what in ("result", "error")]
        wrong += _spent(job, attempt, ends)
        if attempt.outcome is AttemptOutcome.SUCCEEDED:
            results = [result_text(job.number, e.attempt, e.pid) for e in ends if e.what == "result"]
            if not results:
                wrong.append(f"attempt {attempt.number} was committed without a result of its handler")
            elif record.result["text"] not in results:
                wrong.append(f"its result {record.result!r} is not that of attempt {attempt.number}")
    return wrong


def _spent(job: Job, attempt: Attempt, ends: Sequence[Entry]) -> list[str]:
    """Whose handler came to its end was charged what its model call cost; a lost attempt told nobody what it spent."""
    by_handler = attempt.outcome in (AttemptOutcome.SUCCEEDED, AttemptOutcome.FAILED, AttemptOutcome.RETRYING)
    if not ends or not by_handler:
        return []
    cost = cost_of(job.number, attempt.number)
    if attempt.usage.cost_nano_usd != cost:
        return [f"attempt {attempt.number} cost {cost}, was charged {attempt.usage.cost_nano_usd}"]
    return []


def _events(record: TaskRecord, kinds: Sequence[str]) -> list[str]:
    if list(kinds) == [f"task.{record.state.value}"]:
        return []
    return [f"it ended {record.state}, its final events were {list(kinds)}"]


def _sums(facts: Facts) -> list[Problem]:
    total = Usage()
    for record in facts.records.values():
        total += record.usage
    found = []
    for name in ("cost_nano_usd", "input_tokens", "output_tokens", "model_calls"):
        summed, settled = getattr(facts.usage, name), getattr(total, name)
        if summed != settled:
            found.append(Problem(what=f"the ledger's sum of {name} is {summed}, its tasks have {settled}"))
    return found
