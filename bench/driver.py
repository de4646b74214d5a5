"""The measurements, the same for every queue; runs in the producer's process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from bench.peers.base import BULK, Peer

PATIENCE_S = 120.0
WARM = 20
"""Tasks before the clock starts."""
LOOK = 500
"""Results looked at in one go."""


async def wait_done(peer: Peer, ids: list[str], patience_s: float = PATIENCE_S, pause_s: float = 0.005) -> None:
    """Raises ``TimeoutError`` when nothing new becomes readable for ``patience_s``."""
    at, last = 0, time.monotonic()
    while at < len(ids):
        window = ids[at : at + LOOK]
        # One is asked about until it is there, then all.
        if await peer.done(window[-1:]) and await peer.done(window) == len(window):
            at += len(window)
            last = time.monotonic()
        elif time.monotonic() - last > patience_s:
            raise TimeoutError(f"{at} of {len(ids)} results after {patience_s:g} s of silence")
        else:
            await asyncio.sleep(pause_s)


async def throughput(peer: Peer, *, n: int, warm: int = WARM, most_s: float = 0.0) -> dict[str, Any]:
    """First submission to last readable result. ``most_s``: fewer tasks for a queue that would take longer."""
    probe = await peer.submit(["warm"] * warm)
    await wait_done(peer, probe)
    if most_s:
        started = time.perf_counter()
        await wait_done(peer, await peer.submit(["probe"] * 300))
        rate = 300 / (time.perf_counter() - started)
        n = max(500, min(n, int(rate * most_s)))
    started, cpu_s = time.perf_counter(), time.process_time()
    ids = []
    for at in range(0, n, 4 * BULK):
        ids += await peer.submit(["x"] * min(4 * BULK, n - at))
    submitted_s = time.perf_counter() - started
    await wait_done(peer, ids)
    seconds = time.perf_counter() - started
    client_us = 1e6 * (time.process_time() - cpu_s) / n
    return {"n": n, "seconds": seconds, "submitted_s": submitted_s, "per_s": n / seconds, "client_us": client_us}


async def latency(peer: Peer, *, n: int, pause_s: float = 0.01) -> dict[str, Any]:
    """An idle worker; one task at a time; from the call of submit until the result can be read."""
    await wait_done(peer, await peer.submit(["warm"] * 20))
    for _ in range(5):
        await wait_done(peer, [await peer.submit_one("warm")], pause_s=0)
    times = []
    for _ in range(n):
        await asyncio.sleep(pause_s)
        started = time.perf_counter()
        await wait_done(peer, [await peer.submit_one("x")], pause_s=0)
        times.append((time.perf_counter() - started) * 1000)
    times.sort()
    return {"p50_ms": times[n // 2], "p99_ms": times[min(n - 1, int(n * 0.99))], "n": n}


async def submission(peer: Peer, *, n_single: int, n_bulk: int) -> dict[str, Any]:
    """Without a worker: one after the other, then in bulk."""
    await peer.submit(["warm"] * 10)
    started = time.perf_counter()
    for _ in range(n_single):
        await peer.submit_one("x")
    single = n_single / (time.perf_counter() - started)
    started = time.perf_counter()
    for at in range(0, n_bulk, 4 * BULK):
        await peer.submit(["x"] * min(4 * BULK, n_bulk - at))
    return {"single_per_s": single, "bulk_per_s": n_bulk / (time.perf_counter() - started)}


async def fill(peer: Peer, *, n: int, payload_bytes: int) -> dict[str, Any]:
    """Queue tasks for the memory measurement."""
    for at in range(0, n, 4 * BULK):
        await peer.submit(["x" * payload_bytes] * min(4 * BULK, n - at))
    return {"n": n}


async def once(peer: Peer) -> dict[str, Any]:
    """One task through, so that a worker is known to be ready."""
    await wait_done(peer, [await peer.submit_one("x")])
    return {}


MEASURES: dict[str, Callable[..., Any]] = {
    "throughput": throughput,
    "latency": latency,
    "submission": submission,
    "fill": fill,
    "once": once,
}
