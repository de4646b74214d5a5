"""Short tasks on one worker that is killed again and again: how many are lost, stuck, or run a second time."""

from __future__ import annotations

import asyncio
import random
import time

from soak.journal import read_journal
from soak.plan import SHORT_TASKS, make_plan
from soak.queue_run import task_ids
from soak.stage import Orders, Outcome, Say, staged
from soak.traffic import Traffic
from sophia.nouns.task import Durability, TaskState
from tests.support.waiting import eventually, settle_for

KILLS = 10
LONGEST_MS = (200, 400)
FINISH_S = 120.0


async def run(orders: Orders, say: Say) -> Outcome:
    surprises: list[str] = []
    chance = random.Random(orders.seed)
    async with staged(orders, surprises) as stage:
        backbone, ledger = stage.backbone, stage.ledger
        jobs = make_plan(orders.seed, orders.tasks, SHORT_TASKS, long_ms=LONGEST_MS)
        traffic = Traffic(jobs, stage.intake, backbone.queue, backbone.events, Durability.QUEUE)
        started_s = time.monotonic()
        submitting = asyncio.create_task(traffic.submit(orders.over_s))
        try:
            (worker,) = stage.workers
            for number in range(KILLS):
                await settle_for(chance.uniform(0.6, 1.4) * orders.over_s / KILLS)
                say(f"SIGKILL {worker.id}, number {number + 1}; {traffic.accepted} accepted")
                await worker.kill()
                await worker.start()
            await submitting
        finally:
            submitting.cancel()
            await asyncio.gather(submitting, return_exceptions=True)

        async def all_succeeded() -> bool:
            return len(await task_ids(ledger, TaskState.SUCCEEDED)) >= len(jobs)

        try:
            await eventually(all_succeeded, FINISH_S)
        except AssertionError:
            say(f"not all have succeeded {FINISH_S:g} s after the last submission")
        took_s = time.monotonic() - started_s
        known = set(await task_ids(ledger))
        succeeded = set(await task_ids(ledger, TaskState.SUCCEEDED))
    lost = sum(job.task_id not in known for job in jobs)
    stuck = len(known - succeeded)
    begun = sum(entry.what == "begin" for entry in read_journal(orders.journal))
    return Outcome(
        problems=traffic.problems + surprises + ([f"{lost} tasks are lost, {stuck} stuck"] if lost or stuck else []),
        summary=[
            f"{len(jobs)} short tasks, {KILLS} SIGKILLs of their worker: {lost} lost, {stuck} stuck, "
            f"{begun - len(jobs)} handlers run again; {took_s:.0f} s"
        ],
    )
