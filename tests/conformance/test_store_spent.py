"""What the ledger knows of tenants' spending, for accounts that the queue has lost."""

from __future__ import annotations

from sophia.nouns.task import Attempt, AttemptOutcome, TaskRecord, TaskState
from sophia.nouns.usage import Usage
from sophia.store.sql import SqlLedger
from tests.support.records import START_MS
from tests.support.tasks import make_task

DAY_MS = 86_400_000
TODAY_MS = START_MS // DAY_MS * DAY_MS + 10 * DAY_MS
TOMORROW_MS = TODAY_MS + DAY_MS


def ran(submitted_at_ms: int, *ends: tuple[int, AttemptOutcome], tenant: str = "acme") -> TaskRecord:
    """Its attempts cost 1, 10, 100 … nano-dollars and as many tokens of each kind; an end of 0: still runs."""
    attempts = tuple(
        Attempt(
            number=number,
            worker="w",
            started_at_ms=submitted_at_ms,
            ended_at_ms=ended_at_ms or None,
            outcome=outcome,
            usage=Usage(
                cost_nano_usd=10 ** (number - 1),
                input_tokens=10 ** (number - 1),
                output_tokens=10 ** (number - 1),
                embedding_tokens=10 ** (number - 1),
            ),
        )
        for number, (ended_at_ms, outcome) in enumerate(ends, 1)
    )
    state = TaskState.SUCCEEDED if ends[-1][0] else TaskState.RUNNING
    return TaskRecord(
        task=make_task(tenant=tenant, submitted_at_ms=submitted_at_ms),
        state=state,
        attempts=attempts,
        updated_at_ms=max(end for end, _ in ends) or submitted_at_ms,
        finished_at_ms=ends[-1][0] or None,
    )


DONE, RETRYING, DEAD, LOST = (
    AttemptOutcome.SUCCEEDED,
    AttemptOutcome.RETRYING,
    AttemptOutcome.DEAD,
    AttemptOutcome.LOST,
)


async def today(ledger: SqlLedger, *tenants: str) -> dict[str, tuple[int, int]]:
    return dict(await ledger.spent(tenants, TODAY_MS, TOMORROW_MS))


async def test_what_was_submitted_that_day_counts_whenever_it_ended(ledger: SqlLedger) -> None:
    await ledger.record(
        [
            ran(TODAY_MS, (TODAY_MS + 5, RETRYING), (TOMORROW_MS + 5, DONE)),
            ran(TODAY_MS - 1, (TODAY_MS + 5, RETRYING), (TODAY_MS + 6, DONE)),
            ran(TODAY_MS + 1, (TODAY_MS + 5, RETRYING), (0, AttemptOutcome.RUNNING)),
            ran(TODAY_MS + 1, (TODAY_MS + 5, DONE), tenant="globex"),
            ran(TOMORROW_MS, (TOMORROW_MS + 5, DONE)),
        ]
    )
    assert await today(ledger, "acme", "globex", "nobody") == {"acme": (12, 36), "globex": (1, 3), "nobody": (0, 0)}
    assert await today(ledger) == {}


async def test_a_dead_letter_that_ran_again_counts_on_the_days_it_ran(ledger: SqlLedger) -> None:
    yesterday = TODAY_MS - DAY_MS
    await ledger.record([ran(yesterday, (yesterday + 5, RETRYING), (yesterday + 6, DEAD), (TODAY_MS + 5, DONE))])
    await ledger.record([ran(yesterday, (yesterday + 5, LOST), (TODAY_MS + 5, DONE))])
    assert await today(ledger, "acme") == {"acme": (110, 330)}


async def test_tasks_that_were_pruned_count_on_the_days_of_their_ends(ledger: SqlLedger) -> None:
    await ledger.record([ran(TODAY_MS, (TODAY_MS + 5, RETRYING), (TODAY_MS + 6, DONE))])
    await ledger.record([ran(TODAY_MS - 1, (TODAY_MS + 5, RETRYING), (TODAY_MS + 7, DONE))])
    assert await ledger.prune(TODAY_MS + 7, 10) == 1
    assert await today(ledger, "acme") == {"acme": (11, 33)}
    assert await ledger.prune(TODAY_MS + 8, 10) == 1
    assert await today(ledger, "acme") == {"acme": (22, 66)}
