"""What the gateway adds to a call of a model, and what a submission over HTTP costs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from bench import servers
from bench.environment import ROOT
from bench.processes import Failed

CONCURRENCY = 32
KEY = "bench-key"
CONFIG = """
limits: {requests_per_minute: 100000000, burst: 1000000}
"""
CHAT = {"model": "gpt-5", "messages": [{"role": "user", "content": "Say ok."}]}
TASK = {"type": "light", "payload": {"prompt": "Say ok."}}


def cases(*, quick: bool) -> dict[str, Callable[[], Awaitable[dict[str, Any]]]]:
    n = 300 if quick else 2_000
    requests: dict[str, tuple[str, dict[str, Any], bool]] = {
        "POST /v1/chat/completions": ("/v1/chat/completions", CHAT, True),
        "POST /v1/chat/completions, streamed": ("/v1/chat/completions", {**CHAT, "stream": True}, True),
        "POST /v1/tasks": ("/v1/tasks", TASK, False),
    }
    return {name: functools.partial(_case, *request, n) for name, request in requests.items()}


async def _case(path: str, body: dict[str, Any], forwarded: bool, n: int) -> dict[str, Any]:
    async with _gateway() as (port, upstream_port):
        through = await _load(port, path, body, n, CONCURRENCY)
        alone = await _load(port, path, body, n // 10, 1)
        figures = {
            "through_per_s": through["per_s"],
            "through_p50_ms": through["p50_ms"],
            "through_p99_ms": through["p99_ms"],
        }
        if not forwarded:
            return {**figures, "added_alone_ms": alone["p50_ms"]}
        direct = await _load(upstream_port, path, body, n, CONCURRENCY)
        direct_alone = await _load(upstream_port, path, body, n // 10, 1)
        return {
            **figures,
            "direct_per_s": direct["per_s"],
            "direct_p50_ms": direct["p50_ms"],
            "added_alone_ms": alone["p50_ms"] - direct_alone["p50_ms"],
        }


@contextlib.asynccontextmanager
async def _gateway() -> AsyncIterator[tuple[int, int]]:
    """The gateway as it is deployed, in a process of its own, over a scripted upstream."""
    port, upstream_port = servers.free_port(), servers.free_port()
    async with servers.fresh() as places, contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sophia-bench-"))
        config = Path(folder) / "sophia.yaml"
        config.write_text(CONFIG)
        environ = {
            **os.environ,
            "SOPHIA_REDIS_URL": places.redis_url,
            "SOPHIA_API_KEY": KEY,
            "OPENAI_BASE_URL": f"http://127.0.0.1:{upstream_port}/v1",
        }
        environ.pop("OPENAI_API_KEY", None)
        sophia = str(Path(sys.executable).parent / "sophia")
        commands = (
            [sys.executable, "-m", "bench.upstream", str(upstream_port)],
            [
                sophia,
                "gateway",
                "--config",
                str(config),
                "--data-dir",
                folder,
                "--port",
                str(port),
                "--log-level",
                "warning",
            ],
        )
        for command in commands:
            await stack.enter_async_context(_running(command, environ))
        await asyncio.gather(_open(port), _open(upstream_port))
        yield port, upstream_port


@contextlib.asynccontextmanager
async def _running(command: list[str], environ: dict[str, str]) -> AsyncIterator[None]:
    nowhere = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environ, stdout=nowhere, stderr=nowhere)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _open(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.05)


async def _load(port: int, path: str, body: dict[str, Any], n: int, concurrency: int) -> dict[str, float]:
    options = {"port": port, "path": path, "body": body, "n": n, "concurrency": concurrency, "key": KEY}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.load", json.dumps(options)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    if process.returncode != 0:
        raise Failed(err.decode().strip().splitlines()[-1][:200])
    return dict(json.loads(out))
