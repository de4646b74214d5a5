"""Each measurement of one subject, over servers of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import psutil

from bench import servers
from bench.driver import WARM
from bench.processes import measure, resident_mb, workers
from bench.subjects import FLOOR, Subject

MOST_S = 3.0
"""A slower queue gets fewer tasks than ours, so that a round ends."""
PAYLOAD_BYTES = 1024
NOT_COUNTED = {"info", "hello", "client|setinfo", "client|setname"}


async def throughput(subject: Subject, n: int, count: int = 1) -> dict[str, Any]:
    """Where all is ours, also the processor time per task, in microseconds, of workers, server and client."""
    async with servers.fresh(subject.broker) as places:
        async with workers(subject, places, count) as processes:
            whole = subject.kind == "ours" and not subject.broker
            # Two workers must both be there before the clock starts, and one whose start shall not be counted; else the
            # warm tasks wait for it.
            if count > 1 or whole:
                await _ready(subject, places, count)
            before = _cpu_s(processes), _cpu_s([places.process])
            figures = await measure(subject, "throughput", places, {"n": n, "most_s": 0.0 if whole else MOST_S})
            if whole:
                spent = _cpu_s(processes) - before[0], _cpu_s([places.process]) - before[1]
                done = figures["n"] + WARM
                figures["worker_us"], figures["server_us"] = (1e6 * seconds / done for seconds in spent)
            return figures


def _cpu_s(processes: Sequence[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


async def latency(subject: Subject, n: int) -> dict[str, Any]:
    async with servers.fresh(subject.broker) as places, workers(subject, places):
        return await measure(subject, "latency", places, {"n": n})


async def submission(subject: Subject, n_single: int, n_bulk: int) -> dict[str, Any]:
    async with servers.fresh(subject.broker) as places:
        return await measure(subject, "submission", places, {"n_single": n_single, "n_bulk": n_bulk})


async def floor(n: int, n_single: int) -> dict[str, Any]:
    async with servers.fresh() as places:
        return await measure(FLOOR, "floor", places, {"n": n, "n_single": n_single})


async def queued_bytes(subject: Subject, n: int) -> dict[str, Any]:
    """Redis memory per queued task, payload included."""
    async with servers.fresh() as places:
        await measure(subject, "fill", places, {"n": 10, "payload_bytes": PAYLOAD_BYTES})
        before = places.used_memory()
        await measure(subject, "fill", places, {"n": n, "payload_bytes": PAYLOAD_BYTES})
        return {"bytes_per_task": (places.used_memory() - before) / n}


async def at_rest(subject: Subject, watch_s: float) -> dict[str, Any]:
    """A worker that has done one task and then waits: its memory, and the commands that it costs."""
    async with servers.fresh(subject.broker) as places, workers(subject, places) as processes:
        await measure(subject, "once", places, {})
        await asyncio.sleep(3)
        before = places.calls()
        await asyncio.sleep(watch_s)
        after = places.calls()
        spent = {name: calls - before.get(name, 0) for name, calls in after.items()}
        # Not the question itself, nor the greetings of new connections.
        counted = {name: calls for name, calls in spent.items() if calls and name not in NOT_COUNTED}
        per_s = sum(counted.values()) / watch_s
        return {"resident_mb": resident_mb(processes[0]), "commands_per_s": per_s, "commands": counted}


async def _ready(subject: Subject, places: servers.Servers, count: int) -> None:
    for _ in range(count):
        await measure(subject, "once", places, {}, limit_s=60)
