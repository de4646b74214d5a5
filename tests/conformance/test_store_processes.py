"""The ledger as several real processes use it, and as one leaves it that is killed."""

from __future__ import annotations

import asyncio
import shutil
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest

from sophia.store.base import TaskFilter
from sophia.store.sql import SqlLedger
from tests.support.ledger_writer import BATCH
from tests.support.ledgers import LedgerPlace
from tests.support.records import START_MS, finished

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 30.0


async def _start(mode: str, place: LedgerPlace, *prefix: str) -> Process:
    command = (*prefix, sys.executable, "-m", "tests.support.ledger_writer", mode, place.url or "", str(place.data_dir))
    return await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=PIPE, stdout=PIPE)


async def _line(process: Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(START_TIMEOUT_S):
        return (await process.stdout.readline()).decode().strip()


async def _go(process: Process) -> None:
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    await process.stdin.drain()


async def _rest(process: Process) -> list[str]:
    async with asyncio.timeout(START_TIMEOUT_S):
        out, _ = await process.communicate()
    return out.decode().split("\n")[:-1]


async def test_processes_that_migrate_at_once(ledger_place: LedgerPlace) -> None:
    processes = [await _start("migrate", ledger_place) for _ in range(3)]
    assert [await _line(process) for process in processes] == ["ready"] * 3
    for process in processes:
        await _go(process)
    assert [await _rest(process) for process in processes] == [["done"]] * 3
    ledger = ledger_place.open()
    done = finished()
    await ledger.record([done])
    assert await ledger.task(done.task.id) == done
    await ledger.close()


async def test_what_was_committed_survives_kill_9(ledger: SqlLedger, ledger_place: LedgerPlace) -> None:
    writer = await _start("write", ledger_place)
    said = [await _line(writer) for _ in range(8)]
    writer.kill()
    said += await _rest(writer)
    committed = {int(number) for number in said if number}
    # Opened anew, as after a restart of the machine's services.
    opened = ledger_place.open()
    await opened.migrate()
    page = await opened.tasks(TaskFilter(), None, 1_000)
    assert page.next_cursor is None
    found: dict[int, int] = {}
    for record in page.tasks:
        number = int(record.task.labels["batch"])
        found[number] = found.get(number, 0) + 1
        assert len(record.attempts) == 1
    assert committed <= found.keys()
    # The batch in hand may be there without having been named, but then all of it.
    assert set(found.values()) == {BATCH}
    [row] = await opened.usage(None, "2026-01-01", "2026-01-01")
    assert row.usage.cost_nano_usd == row.tasks == len(page.tasks)
    # The dead process left no lock behind.
    await opened.record([finished(at_ms=START_MS + 1)])
    await opened.close()


async def test_a_full_disk_and_one_made_read_only(tmp_path: Path) -> None:
    """On a tmpfs of one megabyte, in a mount namespace of the process's own."""
    if shutil.which("unshare") is None:
        pytest.skip("needs Linux's unshare")
    script = 'mount -t tmpfs -o size=1m none "$0" && "$@"'
    process = await _start(
        "fill",
        LedgerPlace(None, tmp_path),
        *("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, str(tmp_path)),
    )
    assert await _rest(process) == [
        "full: storage_full",
        "read while full: True",
        "room again",
        "read-only: unavailable",
    ]
