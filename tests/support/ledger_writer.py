"""Processes that use a ledger, to be started and killed by tests: ``python -m tests.support.ledger_writer MODE …``."""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path

from sophia.nouns.errors import SophiaError
from sophia.nouns.usage import Usage
from sophia.store.sql import open_ledger
from tests.support.records import finished
from tests.support.tasks import make_task

BATCH = 20


async def migrate(url: str | None, data_dir: Path) -> None:
    """Wait for a line, so that several start at the same moment; migrate; say so."""
    ledger = open_ledger(url, data_dir)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await ledger.migrate()
    await ledger.close()
    print("done", flush=True)


async def write(url: str | None, data_dir: Path) -> None:
    """Record batch after batch until killed, and name each batch once it is committed."""
    ledger = open_ledger(url, data_dir)
    for number in itertools.count():
        tasks = [make_task(id=f"{number:06}-{index:02}", labels={"batch": str(number)}) for index in range(BATCH)]
        await ledger.record([finished(task, usage=Usage(cost_nano_usd=1)) for task in tasks])
        print(number, flush=True)


async def fill(url: str | None, data_dir: Path) -> None:
    """On a small disk of its own: record until it is full, make room, record again; then make the disk read-only."""
    ledger = open_ledger(url, data_dir)
    ballast = data_dir / "ballast"
    await ledger.migrate()
    ballast.write_bytes(b"\0" * (256 << 10))
    first = finished()
    await ledger.record([first])
    for _ in range(1_000):
        try:
            await ledger.record([finished(make_task(payload={"prompt": "x" * 20_000}))])
        except SophiaError as error:
            print(f"full: {error.code}", flush=True)
            break
    print(f"read while full: {await ledger.task(first.task.id) == first}", flush=True)
    ballast.unlink()
    await ledger.record([finished()])
    print("room again", flush=True)
    await ledger.close()
    remount = await asyncio.create_subprocess_exec("mount", "-o", "remount,ro", str(data_dir))
    assert await remount.wait() == 0
    try:
        await ledger.record([finished()])
    except SophiaError as error:
        print(f"read-only: {error.code}", flush=True)
    await ledger.close()


if __name__ == "__main__":
    mode, url, data_dir = sys.argv[1:]
    asyncio.run({"migrate": migrate, "write": write, "fill": fill}[mode](url or None, Path(data_dir)))
