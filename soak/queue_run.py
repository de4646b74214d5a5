"""Workers and routers over one server: everything is broken, then everything is counted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path

import msgspec
import yaml

from soak.engines import ENGINES, Engine, start_proxy
from soak.faults import PROBE_TENANT, Chaos, Fault
from soak.fleet import Member
from soak.journal import Entry, read_journal
from soak.plan import STREAMS, Fate, make_plan
from soak.traffic import Traffic, patiently
from soak.verify import Facts, Problem, problems
from sophia.app import build
from sophia.nouns.task import TaskRecord, TaskState
from sophia.nouns.usage import Usage
from sophia.settings.load import load
from sophia.store.base import Ledger, TaskFilter
from tests.support.fault_proxy import FaultProxy
from tests.support.waiting import eventually

LEASE_S = 3.0
WORKERS = 3
ROUTERS = 2
FINISH_S = 180.0
RECOVERY_S = 45.0
MEMORY_GROWTH_BYTES = 6 * 2**20
"""Of the server from before the first task to after the last one's retention: its log of events is capped, not empty."""
OPEN = (TaskState.SCHEDULED, TaskState.QUEUED, TaskState.RUNNING, TaskState.RETRYING)

Say = Callable[[str], None]


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    seed: int
    tasks: int
    over_s: float
    """Tasks are submitted over this time; faults go on until they all are."""
    engine: str
    folder: Path


class Outcome(msgspec.Struct, kw_only=True):
    problems: list[str]
    summary: list[str]


async def run(orders: Orders, say: Say) -> Outcome:
    engine = ENGINES[orders.engine](orders.folder)
    surprises: list[str] = []
    await engine.start()
    try:
        config = _write_config(orders)
        environment = {**os.environ, **engine.environment(engine.address)}
        loaded = load(config, orders.folder / "data", environment, "local")
        async with build.backbone(loaded) as backbone, build.ledger(loaded) as ledger:
            async with _fleet(orders, engine, config, surprises) as (workers, routers, proxies):
                chaos = Chaos(
                    random.Random(orders.seed),
                    engine=engine,
                    workers=workers,
                    routers=routers,
                    proxies=proxies,
                    queue=backbone.queue,
                    lease_s=LEASE_S,
                    say=say,
                )
                traffic = Traffic(backbone.queue, backbone.events)
                checked = _Run(orders, engine, backbone, ledger, chaos, traffic, say)
                outcome = await checked.go()
            outcome.problems += surprises
            return outcome
    finally:
        await engine.stop()


class _Run:
    def __init__(
        self,
        orders: Orders,
        engine: Engine,
        backbone: build.Backbone,
        ledger: Ledger,
        chaos: Chaos,
        traffic: Traffic,
        say: Say,
    ) -> None:
        self._orders = orders
        self._engine = engine
        self._backbone = backbone
        self._ledger = ledger
        self._chaos = chaos
        self._traffic = traffic
        self._say = say
        self._jobs = make_plan(orders.seed, orders.tasks)
        self._journal = orders.folder / "journal"
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
        self._found += self._traffic.problems + [await self._words(each) for each in found[:20]]
        if len(found) > 20:
            self._found.append(f"and {len(found) - 20} more")
        await self._check_what_is_left(memory_before)
        return Outcome(problems=self._found, summary=self._summary)

    async def _break_things(self) -> None:
        for worker in self._chaos.workers:
            await self._chaos.reported(worker)
        submitting = asyncio.create_task(self._traffic.submit(self._jobs, self._orders.over_s))
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
        ids: list[str] = []
        cursor: str | None = None
        while True:
            page = await self._ledger.tasks(TaskFilter(states=states), cursor, 1_000)
            ids += [record.task.id for record in page.tasks if record.task.tenant != PROBE_TENANT]
            if page.next_cursor is None:
                return ids
            cursor = page.next_cursor

    async def _verify(self) -> list[Problem]:
        records: dict[str, TaskRecord] = {}
        for task_id in await self._ids():
            record = await self._ledger.task(task_id)
            if record is not None:
                records[task_id] = record
        with contextlib.suppress(AssertionError):  # the verifier says which are missing
            await eventually(lambda: self._traffic.ended >= len(self._jobs), 10)
        total = Usage()
        for row in await self._ledger.usage(None, "2000-01-01", "2100-01-01"):
            total += row.usage
        facts = Facts(
            jobs=self._jobs,
            records=records,
            journal=read_journal(self._journal),
            final_events=self._traffic.final_events,
            usage=total,
        )
        self._count(records.values())
        return problems(facts)

    def _count(self, records: Iterable[TaskRecord]) -> None:
        outcomes = Counter(str(attempt.outcome) for record in records for attempt in record.attempts)
        begun = sum(entry.what == "begin" for entry in read_journal(self._journal))
        counted = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
        self._summary = [f"{len(self._jobs)} tasks; attempts: {counted}; {begun} runs of handlers"]

    async def _words(self, problem: Problem) -> str:
        """With the task's history, from everybody who wrote one."""
        if problem.task_id is None:
            return problem.what
        number = int(problem.task_id, 16)
        lines = [f"task {number}: {problem.what}"]
        record = await self._ledger.task(problem.task_id)
        lines += [f"  ledger: {attempt}" for attempt in (record.attempts if record else ())]
        lines += [f"  event: {event}" for event in await self._backbone.events.task_log(problem.task_id, 0)]
        lines += [f"  handler: {_short(entry)}" for entry in read_journal(self._journal) if entry.task == number]
        return "\n".join(lines)

    async def _mend_the_dead(self) -> None:
        """An operator mends the cause and queues the dead letters again: they all succeed."""
        (self._orders.folder / "mended").touch()
        dead = await self._ids(TaskState.DEAD)
        hopeless = {job.task_id for job in self._jobs if job.fate is Fate.HOPELESS}
        went = await patiently(lambda: self._backbone.queue.redrive(None, dead))
        self._say(f"{len(went)} dead letters are queued again")

        async def none_left() -> bool:
            done = set(await self._ids(TaskState.SUCCEEDED))
            return hopeless <= done and await self._queue_is_empty()

        await eventually(none_left, FINISH_S)

    async def _check_what_is_left(self, memory_before: int | None) -> None:
        async def nothing() -> bool:
            return not await self._engine.leftovers(retention_over=False)

        with contextlib.suppress(AssertionError):
            await eventually(nothing, 20)
        self._found += await self._engine.leftovers(retention_over=False)

        async def gone() -> bool:
            return not await self._engine.leftovers(retention_over=True)

        with contextlib.suppress(AssertionError):
            await eventually(gone, 10)
        self._found += await self._engine.leftovers(retention_over=True)
        after = await self._engine.memory_bytes()
        if memory_before is not None and after is not None:
            self._say(f"the server's memory: {memory_before / 2**20:.1f} MB before, {after / 2**20:.1f} MB after")
            if after - memory_before > MEMORY_GROWTH_BYTES:
                self._found.append(f"the server's memory grew by {(after - memory_before) / 2**20:.1f} MB")


def _short(entry: Entry) -> str:
    return f"attempt {entry.attempt} in process {entry.pid}: {entry.what}"


def _write_config(orders: Orders) -> Path:
    """The product's settings with shorter times, and a pool that nobody scales."""
    pool = {"provider": "nobody", "streams": list(STREAMS), "instance_types": ["process"], "max": WORKERS}
    values = {
        "queue": {
            "engine": orders.engine,
            "lease_s": LEASE_S,
            "heartbeat_s": 1.0,
            "retry": {"base_s": 0.2, "max_s": 1.0},
            "result_ttl_s": 1_800.0,
            "idempotency_ttl_s": 1_800.0,
            "platform_events_max": 5_000,
        },
        "pools": {"cpu-workers": pool, "inference": None, "vllm": None, "embedding": None},
    }
    path = orders.folder / "sophia.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@contextlib.asynccontextmanager
async def _fleet(
    orders: Orders, engine: Engine, config: Path, surprises: list[str]
) -> AsyncIterator[tuple[list[Member], list[Member], list[FaultProxy]]]:
    folder = orders.folder
    common = ["--config", str(config), "--data-dir", str(folder / "data")]
    proxies = [await start_proxy(engine, folder, number) for number in range(WORKERS)]
    own = ["--journal", str(folder / "journal"), "--mended", str(folder / "mended")]
    workers = [
        Member(
            f"worker{number}",
            ["-m", "soak.worker", *common, *own, "--id", "{id}", "--clock-seed", str(orders.seed + number)],
            engine.environment(proxy.address),
            folder,
            surprises,
        )
        for number, proxy in enumerate(proxies)
    ]
    router = ["-m", "sophia.cli.main", "router", *common]
    routers = [
        Member(f"router{number}", router, engine.environment(engine.address), folder, surprises)
        for number in range(ROUTERS)
    ]
    members: Sequence[Member] = [*workers, *routers]
    try:
        for member in members:
            await member.start()
        yield workers, routers, proxies
        started_s = time.monotonic()
        await asyncio.gather(*(member.stop() for member in members))
        if time.monotonic() - started_s > 20:
            surprises.append(f"it took {time.monotonic() - started_s:.0f} s to stop idle processes")
    finally:
        for member in members:
            if member.process is not None and member.process.returncode is None:
                await member.kill()
        for proxy in proxies:
            await proxy.stop()
