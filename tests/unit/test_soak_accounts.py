"""What the soak calls wrong about budgets."""

from __future__ import annotations

from soak.accounts import RESERVATION, Account, account_problems
from sophia.nouns.task import Attempt, AttemptOutcome, TaskRecord, TaskState
from sophia.nouns.usage import Usage
from tests.support.tasks import make_task

DAY_MS = 1_795_392_000_000  # 2026-11-23
SPENT = Account(nano_usd=70, tokens=7)


def spent_twice() -> list[TaskRecord]:
    usage = Usage(input_tokens=2, output_tokens=1, cost_nano_usd=30), Usage(input_tokens=4, cost_nano_usd=40)
    attempts = tuple(
        Attempt(number=n, worker="w", started_at_ms=DAY_MS, outcome=AttemptOutcome.RETRYING, usage=each)
        for n, each in enumerate(usage, 1)
    )
    task = make_task(tenant="acme", submitted_at_ms=DAY_MS, reserved=RESERVATION)
    free = make_task(tenant="other", submitted_at_ms=DAY_MS)
    return [
        TaskRecord(task=task, state=TaskState.FAILED, attempts=attempts, updated_at_ms=DAY_MS),
        TaskRecord(task=free, state=TaskState.FAILED, attempts=attempts, updated_at_ms=DAY_MS),
    ]


def test_what_was_spent_is_booked_in_its_day_and_month() -> None:
    accounts = {("acme", "2026-11-23"): SPENT, ("acme", "2026-11"): SPENT}
    assert account_problems(spent_twice(), accounts) == []


def test_an_account_that_is_wrong_or_missing_is_found() -> None:
    accounts = {("acme", "2026-11-23"): Account(nano_usd=70, tokens=8), ("zeta", "2026-11"): SPENT}
    assert [words.split(" in ")[0] for words in account_problems(spent_twice(), accounts)] == [
        "acme is booked (0, 0) (nano-dollars, tokens)",
        "acme is booked (70, 8) (nano-dollars, tokens)",
        "zeta is booked (70, 7) (nano-dollars, tokens)",
    ]


def test_what_is_still_reserved_is_found_even_when_the_server_had_lost_its_books() -> None:
    accounts = {("acme", "2026-11"): Account(reserved_tokens=5)}
    (words,) = account_problems(spent_twice(), accounts, books_are_whole=False)
    assert words == "acme still has 0 nano-dollars and 5 tokens reserved in 2026-11"
