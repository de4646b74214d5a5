"""What is wrong, with the task's history from everybody who wrote one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from soak.journal import Entry, read_journal
from soak.verify import Problem
from sophia.events.base import EventLog
from sophia.store.base import Ledger

SHOWN = 20


async def problem_words(found: Sequence[Problem], ledger: Ledger, events: EventLog, journal: Path) -> list[str]:
    words = [await _words(each, ledger, events, journal) for each in found[:SHOWN]]
    return words + ([f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else [])


async def _words(problem: Problem, ledger: Ledger, events: EventLog, journal: Path) -> str:
    if problem.task_id is None:
        return problem.what
    number = int(problem.task_id, 16)
    lines = [f"task {number}: {problem.what}"]
    record = await ledger.task(problem.task_id)
    lines += [f"  ledger: {attempt}" for attempt in (record.attempts if record else ())]
    lines += [f"  event: {event}" for event in await events.task_log(problem.task_id, 0)]
    lines += [f"  handler: {_short(entry)}" for entry in read_journal(journal) if entry.task == number]
    return "\n".join(lines)


def _short(entry: Entry) -> str:
    return f"attempt {entry.attempt} in process {entry.pid}: {entry.what}"
