"""What is broken during a run, and how it is known that it was."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Callable, Coroutine

from soak.accounts import RUSH_RESERVATION, RUSH_ROOM, RUSH_SIZE, RUSH_TENANT
from soak.engines import Engine
from soak.fleet import Member
from soak.traffic import patiently
from sophia.nouns.errors import BudgetExceeded, SophiaError
from sophia.nouns.task import Task
from sophia.queue.base import TaskQueue
from tests.support.fault_proxy import FaultProxy
from tests.support.tasks import make_task
from tests.support.waiting import eventually, settle_for

HAND_OVER_S = 15.0
"""A leader's lease is 7 s; another router takes over 10 s after its end at the latest. The rest is this machine's."""
START_S = 60.0
DISK_FULL_S = 2.0
DISK_NOTICED_S = 60.0
"""A server fills the page that it has begun, and one that does not answer is asked again for some seconds."""
SLOW_LINK_S = 3.0

PROBE_TENANT = "probe"
TOMORROW_MS = 86_400_000

Say = Callable[[str], None]
Fault = Callable[[], Coroutine[None, None, None]]


class Chaos:
    """One fault after the other; each returns when its effect was seen and everything is whole again."""

    def __init__(
        self,
        chance: random.Random,
        *,
        engine: Engine,
        workers: list[Member],
        routers: list[Member],
        proxies: list[FaultProxy],
        queue: TaskQueue,
        lease_s: float,
        less: bool,
        say: Say,
    ) -> None:
        self._chance = chance
        self._engine = engine
        self.workers = workers
        self._routers = routers
        self._proxies = proxies
        self._queue = queue
        self.probes: list[str] = []
        """Tasks that only asked whether the queue accepts any."""
        self.problems: list[str] = []
        self._lease_s = lease_s
        self._say = say
        # Those of a line are much alike, and long: one of them is enough where there is little time.
        self._kinds: list[list[Fault]] = [
            [self.kill_a_worker],
            [self.stop_a_worker, self.stall_connections],
            [self.kill_the_leader, self.stop_the_leader],
            [self.drain_a_worker],
            [self.kill_the_server],
            [self.rush_on_a_budget],
            [self.cut_connections],
            [self.slow_connections],
        ]
        if engine.can_fill_disk:
            self._kinds.append([self.fill_the_disk])
        else:
            say("filling a disk is left out: it needs root and the right to mount one of its own")
        self._less = less

    def round(self) -> list[Fault]:
        """Every fault once, in an order of its own."""
        faults = [fault for kind in self._kinds for fault in ([self._chance.choice(kind)] if self._less else kind)]
        return self._chance.sample(faults, len(faults))

    def another(self) -> Fault:
        frequent = [self.kill_a_worker, self.stop_a_worker, self.kill_the_server, self.cut_connections]
        again = [fault for kind in self._kinds for fault in kind if fault != self.rush_on_a_budget]
        return self._chance.choice([*again, *frequent])

    async def reported(self, worker: Member) -> None:
        """Returns once it is at work, and so listens to signals."""

        async def seen() -> bool:
            try:
                return worker.id in [beat.worker for beat in await self._queue.workers()]
            except SophiaError:
                return False

        await eventually(seen, START_S)

    async def kill_a_worker(self) -> None:
        worker = self._chance.choice(self.workers)
        self._say(f"SIGKILL {worker.id}")
        await worker.kill()
        await worker.start()

    async def stop_a_worker(self) -> None:
        """Long enough to lose every lease; then it wakes with results that nobody wants any more."""
        worker = self._chance.choice(self.workers)
        self._say(f"SIGSTOP {worker.id}")
        worker.signal(signal.SIGSTOP)
        try:
            await settle_for(self._lease_s * 1.5)
        finally:
            worker.signal(signal.SIGCONT)
        self._say(f"SIGCONT {worker.id}")

    async def drain_a_worker(self) -> None:
        worker = self._chance.choice(self.workers)
        await self.reported(worker)
        self._say(f"SIGTERM {worker.id}")
        await worker.stop()
        await worker.start()

    async def kill_the_server(self) -> None:
        self._say(f"SIGKILL {self._engine.name}")
        await self._engine.kill()
        await settle_for(self._chance.choice((0.0, 0.0, 1.0)))
        await self._engine.start()

    async def cut_connections(self) -> None:
        count = sum([await proxy.cut() for proxy in self._proxies])
        self._say(f"cut {count} connections")

    async def slow_connections(self) -> None:
        delay_s = self._chance.uniform(0.05, 0.4)
        self._say(f"{delay_s * 1000:.0f} ms on every packet")
        for proxy in self._proxies:
            proxy.delay_s = delay_s
        try:
            await settle_for(SLOW_LINK_S)
        finally:
            for proxy in self._proxies:
                proxy.delay_s = 0.0

    async def stall_connections(self) -> None:
        """One worker is cut off for longer than its leases, without being told."""
        proxy = self._chance.choice(self._proxies)
        self._say("one worker's packets are held back")
        proxy.stall()
        try:
            await settle_for(self._lease_s * 1.5)
        finally:
            if self._chance.random() < 0.5:
                await proxy.cut()
            proxy.resume()

    async def kill_the_leader(self) -> None:
        leader = await self._leading()
        self._say(f"SIGKILL {leader.id}, which leads")
        await leader.kill()
        await self._another_leads(leader)
        await leader.start()

    async def stop_the_leader(self) -> None:
        """It wakes believing that it leads."""
        leader = await self._leading()
        self._say(f"SIGSTOP {leader.id}, which leads")
        leader.signal(signal.SIGSTOP)
        try:
            await self._another_leads(leader)
        finally:
            leader.signal(signal.SIGCONT)

    async def _leading(self) -> Member:
        async def found() -> Member | None:
            holder = await self._holder()
            return next((router for router in self._routers if f"-{router.pid}-" in holder), None)

        leader: Member = await eventually(found, HAND_OVER_S)
        return leader

    async def _another_leads(self, gone: Member) -> None:
        pid, started_s = gone.pid, time.monotonic()

        async def taken_over() -> bool:
            holder = await self._holder()
            return bool(holder) and f"-{pid}-" not in holder

        await eventually(taken_over, HAND_OVER_S)
        self._say(f"another router leads after {time.monotonic() - started_s:.1f} s")

    async def _holder(self) -> str:
        try:
            return await self._engine.leader()
        except (SophiaError, OSError):
            return ""

    async def fill_the_disk(self) -> None:
        """Nothing is accepted while the server cannot write; everything goes on once it can."""
        self._say("disk full")
        await self._engine.fill_disk()
        try:
            await eventually(lambda: self._refused(*self._engine.full_disk_says), DISK_NOTICED_S)
            self._say("submissions are refused")
            await settle_for(DISK_FULL_S)
        finally:
            await self._engine.free_disk()
        await eventually(self._accepted, DISK_NOTICED_S)
        self._say("submissions are accepted again")

    async def rush_on_a_budget(self) -> None:
        """Many at once on a budget that has room for some, while the server is killed and nobody knows what became of
        a submission without an answer: that many are admitted."""
        self._say(f"{RUSH_SIZE} submissions at once on a budget for {RUSH_ROOM}")
        now_ms = time.time_ns() // 1_000_000
        tasks = [
            make_task(
                tenant=RUSH_TENANT, submitted_at_ms=now_ms, run_at_ms=now_ms + TOMORROW_MS, reserved=RUSH_RESERVATION
            )
            for _ in range(RUSH_SIZE)
        ]
        self.probes += [task.id for task in tasks]
        asked = asyncio.gather(*(self._admitted(task) for task in tasks))
        await self.kill_the_server()
        admitted = sum(await asked)
        if admitted != RUSH_ROOM:
            self.problems.append(f"{admitted} tasks were admitted to a budget for {RUSH_ROOM}")

    async def _admitted(self, task: Task) -> bool:
        try:
            await patiently(lambda: self._queue.submit([task]))
        except BudgetExceeded:
            return False
        return True

    async def _refused(self, *why: type[SophiaError]) -> bool:
        # Due tomorrow, so that it is in nobody's way until it is cancelled.
        task = make_task(tenant=PROBE_TENANT, run_at_ms=time.time_ns() // 1_000_000 + TOMORROW_MS)
        self.probes.append(task.id)
        try:
            await self._queue.submit([task])
        except why:
            return True
        except SophiaError:
            return False
        return False

    async def _accepted(self) -> bool:
        return not await self._refused(SophiaError)

    async def cancel_probes(self) -> None:
        for task_id in self.probes:
            await patiently(lambda i=task_id: self._queue.cancel(i, "only a probe"))  # type: ignore[misc]
