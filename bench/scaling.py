"""``python -m bench.scaling [SECTION…]``: the figures of ``docs/scaling.md``.

Two cores cannot show what many do: a rate is measured here, and beside it the processor time that each part spends on a
task, from which the rate of a part that has a core of its own follows.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bench.scaling_parts import Place, clients, cpu_s, options, part
from sophia.nouns.errors import Unavailable
from sophia.nouns.task import Route, Target, Task
from sophia.queue.base import WorkerBeat
from sophia.queue.redis import RedisTaskQueue, RedisWorkQueue
from sophia.worker.runtime import LEASE_WAIT_S

ROUTE = Route(stream="light", target=Target.CPU, reason="no rule matched")
TENANTS = 48
BULK = 100
TASKS = 6_000
CASES = ((0, 1, 1), (0, 1, 2), (0, 4, 1), (0, 4, 2), (3, 1, 2), (3, 3, 2), (3, 12, 1), (3, 12, 2))
"""Masters (0: one server that is no cluster), partitions, workers."""


def new_tasks(count: int, prompt: str = "hello") -> list[Task]:
    now_ms = time.time_ns() // 1_000_000
    return [
        Task(
            id=f"{now_ms:012x}{secrets.token_hex(10)}",
            type="light",
            tenant=f"tenant-{number // BULK % TENANTS}",
            payload={"prompt": prompt},
            route=ROUTE,
            submitted_at_ms=now_ms,
        )
        for number in range(count)
    ]


async def submit(queue: RedisTaskQueue, tasks: list[Task]) -> None:
    await asyncio.gather(*(queue.submit(tasks[at : at + BULK]) for at in range(0, len(tasks), BULK)))


async def until(condition: Callable[[], Awaitable[bool]], every_s: float = 0.1, limit_s: float = 120) -> None:
    async with asyncio.timeout(limit_s):
        while not await condition():  # noqa: ASYNC110 - it becomes true in another process
            await asyncio.sleep(every_s)


async def throughput(masters: int, partitions: int, workers: int) -> dict[str, Any]:
    """First submission to last result, and what each part has spent on a task meanwhile, in microseconds."""
    async with Place(masters) as place, contextlib.AsyncExitStack() as stack:
        client, blocking = clients(place.url)
        queue = RedisTaskQueue(client, options(partitions))
        router = await stack.enter_async_context(part("route", place.url, partitions))
        running = [await stack.enter_async_context(part("work", place.url, partitions)) for _ in range(workers)]

        async def all_there() -> bool:
            return len(await queue.workers()) == workers

        async def all_done() -> bool:
            rows = await queue.stats()
            return sum((row.waiting or 0) + (row.running or 0) for row in rows) == 0

        await until(all_there)
        await submit(queue, new_tasks(BULK * TENANTS // 4))
        await until(all_done)

        def used() -> dict[str, Any]:
            return {
                "redis": place.used_s(),
                "workers": sum(cpu_s(process.pid) for process in running),
                "router": cpu_s(router.pid),
                "producer": time.process_time(),
            }

        tasks = new_tasks(TASKS)
        before, started_s = used(), time.monotonic()
        await submit(queue, tasks)
        await until(all_done)
        wall_s, after = time.monotonic() - started_s, used()
        per_task = {name: (after[name] - before[name]) / TASKS * 1e6 for name in ("workers", "router", "producer")}
        nodes = [(b - a) / TASKS * 1e6 for a, b in zip(before["redis"], after["redis"], strict=True)]
        await client.aclose()
        await blocking.aclose()
    return {
        "masters": masters,
        "partitions": partitions,
        "workers": workers,
        "per_s": TASKS / wall_s,
        "redis_us": sum(nodes),
        "busiest_us": max(nodes),
        "nodes_us": nodes,
        **{f"{name}_us": value for name, value in per_task.items()},
    }


async def memory(count: int = 20_000) -> dict[str, Any]:
    """Redis memory per waiting task with a payload of 1 KB, after the ledger has taken it up."""
    async with Place(0) as place:
        client, blocking = clients(place.url)
        queue = RedisTaskQueue(client, options(1))
        await submit(queue, new_tasks(10))
        (before,) = await place.info("memory")
        await submit(queue, new_tasks(count, "x" * 1_000))

        async def taken_up() -> bool:
            return int(await client.call("", "XLEN", "sophia:{0}:changes")) == 0

        async with part("route", place.url, 1):
            await until(taken_up)
        (after,) = await place.info("memory")
        await client.aclose()
        await blocking.aclose()
        return {"bytes_per_task": (after["used_memory"] - before["used_memory"]) / count}


async def idle(partitions: int) -> dict[str, Any]:
    """Commands of a worker at rest: one report and one round of waiting, at the pace that the worker has them."""
    beat = WorkerBeat(worker="w1", pool="p", state="ready", busy=0, slots=4, started_at_ms=1)
    async with Place(0) as place:
        client, blocking = clients(place.url)
        work = RedisWorkQueue(client, blocking, options(partitions))

        async def issued() -> int:
            (stats,) = await place.info("commandstats")
            return sum(
                row["calls"] for name, row in stats.items() if not name.startswith(("cmdstat_info", "cmdstat_client"))
            )

        await work.beat(beat)
        await work.lease("w1", ("light", "research"), 4, 0.05)
        at_first = await issued()
        await work.beat(beat)
        report = await issued() - at_first
        # One read at each partition, and the next when it has ended, for a time that holds many of them.
        until_s, waits = time.monotonic() + 3.0, 0.25
        while time.monotonic() < until_s:
            await work.lease("w1", ("light", "research"), 4, waits)
        rounds = (await issued() - at_first - report) / (3.0 / waits)
        await work.close()
        await client.aclose()
        await blocking.aclose()
    return {"partitions": partitions, "commands_per_s": report / beat.due_again_in_s + rounds / LEASE_WAIT_S}


async def moving(tasks: int, keys_a_call: int) -> dict[str, Any]:
    """How long a partition waits while its slot is moved key by key with so many waiting tasks in it."""
    async with Place(2) as place:
        client, blocking = clients(place.url)
        await submit(RedisTaskQueue(client, options(1)), new_tasks(tasks, "x" * 1_000))
        cluster = place.cluster
        cluster.connect()
        source = await cluster.owner("sophia:{0}")
        move = await cluster.move("sophia:{0}", next(node for node in cluster.masters if node is not source))
        started_s = time.monotonic()
        await move.begin()
        while await move.carry(keys_a_call):
            pass
        await move.end()
        taken_s = time.monotonic() - started_s
        await cluster.disconnect()
        await client.aclose()
        await blocking.aclose()
    return {"tasks": tasks, "keys_a_call": keys_a_call, "s": taken_s}


async def failover(node_timeout_ms: int) -> dict[str, Any]:
    """From the SIGKILL of a master to the next task that its partition accepts."""
    from tests.support.clusters import RedisCluster

    async with contextlib.AsyncExitStack() as stack:
        place = stack.enter_context(contextlib.closing(_Folder()))
        cluster = RedisCluster(place.path, 3, 1, **{"appendonly": "yes", "cluster-node-timeout": str(node_timeout_ms)})
        await cluster.start()
        stack.push_async_callback(cluster.stop)
        client, blocking = clients(cluster.url)
        queue = RedisTaskQueue(client, options(1))
        await queue.submit(new_tasks(1))
        cluster.connect()
        victim = await cluster.owner("sophia:{0}")
        await victim.ask("WAIT", 1, 5_000)
        started_s = time.monotonic()
        victim.kill()
        (task,) = new_tasks(1)

        async def accepted() -> bool:
            try:
                return bool(await queue.submit([task]))
            except Unavailable:
                return False

        await until(accepted)
        taken_s = time.monotonic() - started_s
        await cluster.disconnect()
        await client.aclose()
        await blocking.aclose()
    return {"node_timeout_ms": node_timeout_ms, "s": taken_s}


class _Folder:
    def __init__(self) -> None:
        import tempfile

        self._folder = tempfile.TemporaryDirectory(prefix="sophia-scaling-")
        self.path = Path(self._folder.name)

    def close(self) -> None:
        self._folder.cleanup()


async def hand_over(times: int) -> dict[str, Any]:
    """From the SIGKILL of the leading router to the next one's lead."""
    taken: list[float] = []
    async with Place(0) as place, contextlib.AsyncExitStack() as stack:
        leader = await stack.enter_async_context(part("lead", place.url, 1))
        assert leader.stdout is not None
        await leader.stdout.readline()
        for _ in range(times):
            successor = await stack.enter_async_context(part("lead", place.url, 1))
            await asyncio.sleep(4 + 2.5 * secrets.randbelow(100) / 100)
            leader.kill()
            started_s = time.monotonic()
            assert successor.stdout is not None
            await asyncio.wait_for(successor.stdout.readline(), 30)
            taken.append(time.monotonic() - started_s)
            leader = successor
    return {"times": times, "median_s": statistics.median(taken), "most_s": max(taken)}


async def ledger(engine: str, count: int = 6_000) -> dict[str, Any]:
    """Records of finished tasks that the router's leader writes, 500 at a time."""
    from sophia.store.sql import open_ledger
    from tests.support.postgres import PostgresServer
    from tests.support.records import finished

    folder = _Folder()
    with contextlib.closing(folder):
        server = PostgresServer(folder.path / "pg") if engine == "postgres" else None
        url = None
        if server is not None:
            server.folder.mkdir()
            server.folder.chmod(0o777)
            server.start()
            admin = await server.admin()
            for setting in ("fsync", "full_page_writes", "autovacuum"):
                await admin.execute(f"ALTER SYSTEM SET {setting} = on")
            await admin.execute("SELECT pg_reload_conf()")
            await admin.close()
            url = server.url(await server.create_database())
        store = open_ledger(url, folder.path)
        await store.migrate()
        records = [finished() for _ in range(count)]
        await store.record(records[:500])
        own_s, started_s = time.process_time(), time.monotonic()
        for at in range(0, count, 500):
            await store.record(records[at : at + 500])
        wall_s, own_s = time.monotonic() - started_s, time.process_time() - own_s
        await store.close()
        if server is not None:
            server.stop()
    return {"engine": engine, "per_s": count / wall_s, "router_us": own_s / count * 1e6}


async def fan_out(subscribers: int, count: int = 2_000) -> dict[str, Any]:
    """Processor time of one process that follows the log for so many subscribers, each of which wants every tenth event."""
    from sophia.events.hub import Hub
    from sophia.events.redis import RedisEventLog
    from sophia.nouns.event import Event, EventKind

    async with Place(0) as place:
        client, blocking = clients(place.url)
        log = RedisEventLog(client, blocking, options(1))
        hub = Hub(log, capacity=count)
        running = asyncio.create_task(hub.run())
        async with contextlib.AsyncExitStack() as stack:
            matched = [
                await stack.enter_async_context(hub.subscribe(lambda event, n=number % 10: event.seq % 10 == n))  # type: ignore[misc]
                for number in range(subscribers)
            ]
            events = [
                Event(kind=EventKind.QUEUE_CHANGED, at_ms=0, subject=f"s{n}", tenant="", seq=n, data={"waiting": n})
                for n in range(count)
            ]
            await log.publish(events)
            end = await log.head()
            started_s = time.process_time()

            async def all_read() -> bool:
                return hub.cursor == end

            await until(all_read, every_s=0.01)
            got = 0
            for subscription in matched:
                while not subscription.drained:
                    got += await subscription.next(1) is not None
            used_s = time.process_time() - started_s
        await hub.stop()
        await running
        await client.aclose()
        await blocking.aclose()
    return {"subscribers": subscribers, "delivered": got, "us_per_event": used_s / count * 1e6}


async def measured(sections: list[str]) -> dict[str, Any]:
    every: dict[str, Callable[[], list[Awaitable[dict[str, Any]]]]] = {
        "throughput": lambda: [throughput(*case) for case in CASES],
        "memory": lambda: [memory()],
        "idle": lambda: [idle(partitions) for partitions in (1, 4, 8, 12, 16)],
        "moving": lambda: [moving(2_000, 10), moving(2_000, 100), moving(20_000, 100)],
        "failover": lambda: [failover(1_000), failover(5_000)],
        "hand_over": lambda: [hand_over(5)],
        "ledger": lambda: [ledger("sqlite"), ledger("postgres")],
        "fan_out": lambda: [fan_out(count) for count in (1, 100, 1_000)],
    }
    found: dict[str, Any] = {}
    for name in sections or every:
        found[name] = []
        for measurement in every[name]():
            found[name].append(await measurement)
            print(name, json.dumps({k: _short(v) for k, v in found[name][-1].items()}), flush=True)
    return found


def _short(value: Any) -> Any:
    if isinstance(value, list):
        return [_short(one) for one in value]
    return round(value, 2) if isinstance(value, float) else value


if __name__ == "__main__":
    asyncio.run(measured(sys.argv[1:]))
