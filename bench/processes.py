"""Child processes of a measurement: workers that run beside it, and the producer that measures."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import psutil

from bench.environment import ROOT
from bench.servers import Servers
from bench.subjects import Subject

STOP_S = 2.0
"""How long a worker may take to end once it is measured; its server goes as well."""


class Failed(Exception):
    """A measured process ended in an error or took too long; says what it said last."""


async def measure(
    subject: Subject, what: str, servers: Servers, options: dict[str, Any], limit_s: float = 240
) -> dict[str, Any]:
    """Run one measurement in the subject's own process; gives its figures."""
    process = await asyncio.create_subprocess_exec(
        *subject.command(what, servers, options),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(limit_s):
            out, err = await process.communicate()
    except TimeoutError:
        raise Failed(f"no end within {limit_s:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    lines = out.decode().strip().splitlines()
    if process.returncode != 0 or not lines:
        raise Failed(_last_line(err) or f"exit status {process.returncode}")
    return dict(json.loads(lines[-1]))


@contextlib.asynccontextmanager
async def workers(subject: Subject, servers: Servers, count: int = 1) -> AsyncIterator[list[psutil.Process]]:
    started = [
        await asyncio.create_subprocess_exec(
            *subject.command("work", servers, {}),
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        for _ in range(count)
    ]
    try:
        yield [psutil.Process(process.pid) for process in started]
        if any(process.returncode is not None for process in started):
            raise Failed("a worker ended while it was measured")
    finally:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        for process in started:
            try:
                async with asyncio.timeout(STOP_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


def resident_mb(process: psutil.Process) -> float:
    """Of a process and its children."""
    family = [process, *process.children(recursive=True)]
    return sum(member.memory_info().rss for member in family) / 1e6


def _last_line(text: bytes) -> str:
    lines = [line for line in text.decode(errors="replace").strip().splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""
