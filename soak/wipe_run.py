"""Durability ``ledger``: the server loses everything, twice, while tasks are at every stage, and all of them succeed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

import msgspec

from soak.accounts import account_problems
from soak.journal import read_journal
from soak.plan import ALL_SUCCEED, Fate, Job, make_plan
from soak.queue_run import task_ids, usage_of_all
from soak.stage import Orders, Outcome, Say, Stage, staged
from soak.traffic import Traffic, patiently
from soak.verify import Facts, problems
from soak.words import problem_words
from sophia.nouns.task import Durability, TaskRecord, TaskState
from tests.support.waiting import eventually

DUE_WITHIN_MS = (10_000, 60_000)
STAGE_S = 60.0
FINISH_S = 120.0
STAGES = (
    TaskState.SCHEDULED,
    TaskState.QUEUED,
    TaskState.RUNNING,
    TaskState.RETRYING,
    TaskState.SUCCEEDED,
)


async def run(orders: Orders, say: Say) -> Outcome:
    surprises: list[str] = []
    chance = random.Random(orders.seed)
    jobs = [_due_later(job, chance) for job in make_plan(orders.seed, orders.tasks, ALL_SUCCEED)]
    async with staged(orders, surprises) as stage:
        backbone = stage.backbone
        traffic = Traffic(jobs, stage.intake, backbone.queue, backbone.events, Durability.LEDGER, forgetful=True)
        outcome = await _Wipe(stage, jobs, traffic, say).go()
    outcome.problems += surprises
    return outcome


def _due_later(job: Job, chance: random.Random) -> Job:
    """Some are still scheduled when the server is lost for the second time."""
    later_ms = chance.randint(*DUE_WITHIN_MS) if job.fate is Fate.SCHEDULED else job.later_ms
    return msgspec.structs.replace(job, later_ms=later_ms)


class _Wipe:
    def __init__(self, stage: Stage, jobs: list[Job], traffic: Traffic, say: Say) -> None:
        self._stage = stage
        self._jobs = jobs
        self._traffic = traffic
        self._say = say

    async def go(self) -> Outcome:
        engine = self._stage.engine
        submitting = asyncio.create_task(self._traffic.submit(self._stage.orders.over_s))
        try:
            await self._reached(STAGES)
            self._say(f"everything on {engine.name} is deleted")
            await engine.wipe()
            await submitting
            await self._reached((TaskState.QUEUED, TaskState.RUNNING, TaskState.SUCCEEDED))
            self._say(f"{engine.name} is killed and its disk is lost")
            await engine.lose_disk()
        finally:
            submitting.cancel()
            await asyncio.gather(submitting, return_exceptions=True)
        self._stage.orders.released.touch()
        await eventually(self._all_succeeded, FINISH_S)
        return await self._verify()

    async def _reached(self, stages: Sequence[TaskState]) -> None:
        """There are tasks at each of these stages."""

        async def there() -> Counter[TaskState] | None:
            counts = await self._counts()
            return counts if all(counts[state] for state in stages) else None

        counts: Counter[TaskState] = await eventually(there, STAGE_S)
        self._say(", ".join(f"{count} {state}" for state, count in counts.items()))

    async def _counts(self) -> Counter[TaskState]:
        ids = {state: await task_ids(self._stage.ledger, state) for state in TaskState}
        return Counter({state: len(found) for state, found in ids.items() if found})

    async def _all_succeeded(self) -> bool:
        return len(await task_ids(self._stage.ledger, TaskState.SUCCEEDED)) >= len(self._jobs)

    async def _verify(self) -> Outcome:
        ledger, engine = self._stage.ledger, self._stage.engine

        async def nothing_reserved() -> bool:
            return not account_problems([], await engine.accounts(), books_are_whole=False)

        await eventually(nothing_reserved, 20)
        records: dict[str, TaskRecord] = {}
        for task_id in await task_ids(ledger):
            record = await patiently(lambda i=task_id: ledger.task(i))  # type: ignore[misc]
            if record is not None:
                records[task_id] = record
        facts = Facts(
            jobs=self._jobs,
            records=records,
            journal=read_journal(self._stage.orders.journal),
            final_events=self._traffic.final_events,
            usage=await usage_of_all(ledger),
            queue_was_lost=True,
        )
        journal = self._stage.orders.journal
        found = await problem_words(problems(facts), ledger, self._stage.backbone.events, journal)
        rows = await patiently(self._stage.backbone.queue.stats)
        left = [row for row in rows if row.waiting or row.running or row.delayed or row.retrying]
        found += [f"left in the queue: {row}" for row in left]
        again = sum(len(record.attempts) > 1 for record in records.values())
        return Outcome(
            problems=self._traffic.problems + found,
            summary=[f"{len(records)} tasks, all succeeded; {again} took more than one attempt"] if not found else [],
        )
