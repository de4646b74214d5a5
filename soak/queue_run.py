"""Workers and routers over one server: everything is broken, then everything is counted."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterable

from soak.accounts import RUSH_TENANT, account_problems
from soak.faults import PROBE_TENANT, Chaos, Fault
from soak.journal import read_journal
from soak.plan import LESS_LONG_MS, LONG_MS, Fate, Job, make_plan
from soak.stage import LEASE_S, Orders, Outcome, Say, Stage, staged
from soak.traffic import Traffic, patiently
from soak.verify import Facts, Problem, problems
from soak.words import problem_words
from sophia.nouns.task import Durability, TaskRecord, TaskState
from sophia.nouns.usage import Usage
from sophia.store.base import Ledger, TaskFilter
from tests.support.waiting import eventually

FINISH_S = 240.0
RECOVERY_S = 45.0
OPEN = (TaskState.SCHEDULED, TaskState.QUEUED, TaskState.RUNNING, TaskState.RETRYING)


async def run(orders: Orders, say: Say) -> Outcome:
    surprises: list[str] = []
    async with staged(orders, surprises) as stage:
        jobs = make_plan(orders.seed, orders.tasks, long_ms=LESS_LONG_MS if orders.less else LONG_MS)
        backbone = stage.backbone
        traffic = Traffic(jobs, stage.intake, backbone.queue, backbone.events, Durability.QUEUE)
        outcome = await _Run(stage, jobs, traffic, say).go()
    outcome.problems += surprises
    return outcome


class _Run:
    def __init__(self, stage: Stage, jobs: list[Job], traffic: Traffic, say: Say) -> None:
        self._orders = stage.orders
        self._engine = stage.engine
        self._backbone = stage.backbone
        self._ledger = stage.ledger
        self._jobs = jobs
        self._traffic = traffic
        self._say = say
        self._chaos = Chaos(
            random.Random(self._orders.seed),
            engine=stage.engine,
            workers=stage.workers,
            routers=stage.routers,
            proxies=stage.proxies,
            queue=self._backbone.queue,
            lease_s=LEASE_S,
            less=self._orders.less,
            say=say,
        )
        self._found: list[str] = []
        self._summary: list[str] = []

    async def go(self) -> Outcome:
        memory_before = await self._engine.memory_bytes()
        watching = asyncio.create_task(self._traffic.watch())
        try:
            await self._break_things()
            await self._wait_for_the_end(len(self._jobs))
            found = await self._verify()
            await self._mend_the_dead()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        self._found += self._traffic.problems + self._chaos.problems
        self._found += await problem_words(found, self._ledger, self._backbone.events, self._orders.journal)
        await self._check_accounts()
        await self._check_what_is_left(memory_before)
        return Outcome(problems=self._found, summary=self._summary)

    async def _break_things(self) -> None:
        for worker in self._chaos.workers:
            await self._chaos.reported(worker)
        submitting = asyncio.create_task(self._traffic.submit(self._orders.over_s))
        try:
            for fault in self._chaos.round():
                await self._suffer(fault)
            while not submitting.done():
                await self._suffer(self._chaos.another())
            await submitting
        finally:
            submitting.cancel()
            await asyncio.gather(submitting, return_exceptions=True)

    async def _suffer(self, fault: Fault) -> None:
        """After every fault tasks end again, without anybody's help."""
        before = self._traffic.ended
        await fault()

        def more() -> bool:
            return self._traffic.ended > before or self._traffic.ended >= len(self._jobs)

        try:
            await eventually(more, RECOVERY_S)
        except AssertionError:
            accepted, ended = self._traffic.accepted, self._traffic.ended
            self._found.append(
                f"no task ended in {RECOVERY_S:g} s after {fault.__name__}: {accepted} accepted, {ended} ended"
            )

    async def _wait_for_the_end(self, count: int) -> None:
        self._say(f"{self._traffic.accepted} accepted, {self._traffic.ended} ended; waiting for the rest")
        await patiently(self._chaos.cancel_probes)

        async def all_ended() -> bool:
            open_ones = await self._ledger.tasks(TaskFilter(states=OPEN), None, 1)
            return not open_ones.tasks and len(await self._ids()) >= count and await self._queue_is_empty()

        await eventually(all_ended, FINISH_S)

    async def _queue_is_empty(self) -> bool:
        rows = await patiently(self._backbone.queue.stats)
        return not any(row.waiting or row.running or row.delayed or row.retrying for row in rows)

    async def _ids(self, *states: TaskState) -> list[str]:
        return await task_ids(self._ledger, *states)

    async def _records(self) -> dict[str, TaskRecord]:
        found = {task_id: await self._ledger.task(task_id) for task_id in await self._ids()}
        return {task_id: record for task_id, record in found.items() if record is not None}

    async def _verify(self) -> list[Problem]:
        records = await self._records()
        with contextlib.suppress(AssertionError):  # the verifier says which are missing
            await eventually(lambda: self._traffic.ended >= len(self._jobs), 10)
        facts = Facts(
            jobs=self._jobs,
            records=records,
            journal=read_journal(self._orders.journal),
            final_events=self._traffic.final_events,
            usage=await usage_of_all(self._ledger),
        )
        self._count(records.values())
        return problems(facts)

    def _count(self, records: Iterable[TaskRecord]) -> None:
        outcomes = Counter(str(attempt.outcome) for record in records for attempt in record.attempts)
        begun = sum(entry.what == "begin" for entry in read_journal(self._orders.journal))
        counted = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
        self._summary = [f"{len(self._jobs)} tasks; attempts: {counted}; {begun} runs of handlers"]

    async def _mend_the_dead(self) -> None:
        """An operator mends the cause and queues the dead letters again: they all succeed."""
        self._orders.mended.touch()
        hopeless = {job.task_id for job in self._jobs if job.fate is Fate.HOPELESS}
        await self._redrive(await self._ids(TaskState.DEAD))

        async def none_left() -> bool:
            if hopeless <= set(await self._ids(TaskState.SUCCEEDED)):
                return await self._queue_is_empty()
            await self._redrive(await self._dead_by_lost_workers())
            return False

        await eventually(none_left, FINISH_S)

    async def _redrive(self, task_ids: list[str]) -> None:
        if task_ids:
            await patiently(lambda: self._backbone.queue.redrive(None, task_ids))
            self._say(f"{len(task_ids)} dead letters are queued again")

    async def _dead_by_lost_workers(self) -> list[str]:
        """These tasks have two attempts each: on a machine so busy that two leases in a row end although their worker
        lives, one is a dead letter again, and rightly so."""
        records = [await self._ledger.task(task_id) for task_id in await self._ids(TaskState.DEAD)]
        since_mended_ms = round(self._orders.mended.stat().st_mtime * 1000)
        return [
            record.task.id
            for record in records
            if record is not None
            and record.error is not None
            and record.error.code == "worker_lost"
            and record.attempts[-1].started_at_ms > since_mended_ms
        ]

    async def _check_accounts(self) -> None:
        records = list((await self._records()).values())
        accounts = await self._engine.accounts()
        self._found += account_problems(records, accounts)
        spent = sum(account.nano_usd for (_, period), account in accounts.items() if len(period) == 7)
        used = sum(record.usage.cost_nano_usd for record in records if record.task.reserved is not None)
        self._say(f"booked of budgets: ${spent / 1e9:.6f}; spent by their tasks: ${used / 1e9:.6f}")

    async def _check_what_is_left(self, memory_before: int) -> None:
        async def nothing() -> bool:
            return not await self._engine.leftovers()

        with contextlib.suppress(AssertionError):
            await eventually(nothing, 20)
        self._found += await self._engine.leftovers()

        async def gone() -> bool:
            return not await self._engine.leftovers_after_retention()

        with contextlib.suppress(AssertionError):
            await eventually(gone, 20)
        self._found += await self._engine.leftovers_after_retention()
        after = await self._engine.memory_bytes()
        self._say(f"the server holds {memory_before / 2**20:.2f} MB before, {after / 2**20:.2f} MB after")
        if after - memory_before > self._engine.memory_growth_bytes:
            self._found.append(f"what the server holds grew by {(after - memory_before) / 2**20:.1f} MB")


async def task_ids(ledger: Ledger, *states: TaskState) -> list[str]:
    """Of the tasks of the plan."""
    ids: list[str] = []
    cursor: str | None = None
    while True:
        page = await patiently(lambda at=cursor: ledger.tasks(TaskFilter(states=states), at, 1_000))  # type: ignore[misc]
        ids += [each.task.id for each in page.tasks if each.task.tenant not in (PROBE_TENANT, RUSH_TENANT)]
        if page.next_cursor is None:
            return ids
        cursor = page.next_cursor


async def usage_of_all(ledger: Ledger) -> Usage:
    total = Usage()
    for row in await ledger.usage(None, "2000-01-01", "2100-01-01"):
        total += row.usage
    return total
