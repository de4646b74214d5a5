"""The floors: what Redis and redis-py give when nothing is promised."""

from __future__ import annotations

import time
from typing import Any

from bench.peers.base import BULK, Places

CONSUME = 100
"""Entries read in one go."""
SUBMIT = """
redis.call('HSET', KEYS[1] .. ':t:' .. ARGV[1], 's', 'queued', 'u', ARGV[2])
return redis.call('XADD', KEYS[1] .. ':stream', '*', 'i', ARGV[1], 'b', ARGV[2])
"""
BODY = (
    b'{"id":"0123456789abcdef0123456789abcdef","type":"light","payload":{"prompt":"x"},"submitted_at_ms":1700000000000}'
)


async def floor(places: Places, *, n: int, n_single: int) -> dict[str, Any]:
    """Scripted submission one by one and pipelined, XADD pipelined, and consuming with results, pipelined. Per second."""
    from sophia.redis.connection import connect

    client = connect(places.redis_url)
    sha = await client.script_load(SUBMIT)
    ids = [f"{number:032x}" for number in range(n)]
    found: dict[str, Any] = {}

    started = time.perf_counter()
    for task_id in ids[:n_single]:
        await client.evalsha(sha, 1, "one", task_id, BODY)
    found["submit_single_per_s"] = n_single / (time.perf_counter() - started)

    async def timed(name: str, add: Any) -> None:
        begun = time.perf_counter()
        for at in range(0, n, BULK):
            async with client.pipeline(transaction=False) as pipe:
                for task_id in ids[at : at + BULK]:
                    add(pipe, task_id)
                await pipe.execute()
        found[name] = n / (time.perf_counter() - begun)

    await timed("submit_bulk_per_s", lambda pipe, task_id: pipe.evalsha(sha, 1, "all", task_id, BODY))
    await timed("xadd_per_s", lambda pipe, task_id: pipe.xadd("plain", {"i": task_id, "b": BODY}))

    await client.xgroup_create("plain", "workers", id="0")
    started = time.perf_counter()
    handled = 0
    while handled < n:
        ((_, entries),) = await client.xreadgroup("workers", "w", {"plain": ">"}, count=CONSUME)
        async with client.pipeline(transaction=False) as pipe:
            for entry, fields in entries:
                pipe.set(b"result:" + fields[b"i"], b'"ok"', ex=3600)
                pipe.xack("plain", "workers", entry)
                pipe.xdel("plain", entry)
            await pipe.execute()
        handled += len(entries)
    found["consume_per_s"] = n / (time.perf_counter() - started)
    await client.aclose()
    return found
