"""The gateway beside its peers: one core for the server under test, the other for load, upstream and Redis.

The upstream answers at once, so that what is left is the gateway. Sophia runs as deployed, with a virtual key that has a
rate limit and a budget, under a tenant that has one too; every call is metered. The peers have none of these.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from bench import environment, servers
from bench.environment import ROOT
from bench.load import WARM_UP
from bench.processes import Failed
from bench.upstream import HOLD

CONCURRENCY = 32
STREAMS = 1_000
ADMIN_KEY = "bench-key"
DIRECT = "direct"
SOPHIA = "Sophia"
PORTKEY = "Portkey's open gateway"
LITELLM = "LiteLLM proxy"
PLENTY = 1_000_000_000
USD = 1_000_000
CONFIG = f"""
tenants:
  default: {{budget: {{usd_per_day: {USD:d}}}}}
providers:
  openai_keyless: {{max_concurrency: 4096}}
"""
CHAT: dict[str, Any] = {
    "model": "gpt-5",
    "messages": [{"role": "user", "content": "Say ok."}],
    "max_tokens": 200,
    "temperature": 0.7,
}
CHAT_PATH = "/v1/chat/completions"
TASK = {"type": "light", "payload": {"prompt": "Say ok."}}


def cores() -> tuple[set[int], set[int]]:
    """For the server under test, and for everything else."""
    usable = sorted(os.sched_getaffinity(0))
    return {usable[0]}, {usable[1]} if len(usable) > 1 else {usable[0]}


@dataclass(frozen=True)
class Target:
    """A server that answers chat requests."""

    port: int
    process: psutil.Process | None
    headers: dict[str, str] = field(default_factory=dict)


def cases(*, quick: bool) -> dict[str, Callable[[], Awaitable[dict[str, Any]]]]:
    seconds = 1.0 if quick else 3.0
    opened: dict[str, Callable[[int], contextlib.AbstractAsyncContextManager[Target]]] = {
        DIRECT: _direct,
        SOPHIA: _sophia,
        PORTKEY: _portkey,
        LITELLM: _litellm,
    }
    return {name: functools.partial(_case, name, opening, seconds) for name, opening in opened.items()}


async def _case(
    name: str, opening: Callable[[int], contextlib.AbstractAsyncContextManager[Target]], seconds: float
) -> dict[str, Any]:
    """Direct and through in the same minute, as differences are wanted."""
    async with _upstream() as upstream_port, opening(upstream_port) as target:
        direct = Target(upstream_port, None)
        most = await _load(target, CHAT, seconds)
        figures = {name: most[name] for name in ("per_s", "p50_ms", "p99_ms", "cpu_us")}
        streamed = {**CHAT, "stream": True}
        through = await _load(target, streamed, seconds)
        figures |= {"chunks_per_s": through["events_per_s"], "cpu_us_per_stream": through["cpu_us"]}
        if name != DIRECT:
            figures |= await _added(target, direct, most["per_s"] / 2, streamed, seconds)
        if name == SOPHIA:
            for what, body, path in (("hit", {**CHAT, "temperature": 0}, CHAT_PATH), ("task", TASK, "/v1/tasks")):
                seen = await _load(target, body, seconds, path=path)
                figures |= {f"{what}s_per_s": seen["per_s"], f"cpu_us_per_{what}": seen["cpu_us"]}
        if name != DIRECT:
            figures["kb_per_stream"] = await _kb_per_stream(target)
        return figures


async def _added(
    target: Target, direct: Target, rate: float, streamed: dict[str, Any], seconds: float
) -> dict[str, float]:
    """At half of the most it can do, and for a stream that is alone."""
    through = await _load(target, CHAT, seconds, rate=rate)
    straight = await _load(direct, CHAT, seconds, rate=rate)
    first = await _load(target, streamed, seconds / 2, concurrency=1)
    first_direct = await _load(direct, streamed, seconds / 2, concurrency=1)
    return {
        "added_p50_ms": through["p50_ms"] - straight["p50_ms"],
        "added_p99_ms": through["p99_ms"] - straight["p99_ms"],
        "first_later_ms": first["first_p50_ms"] - first_direct["first_p50_ms"],
    }


async def _kb_per_stream(target: Target) -> float:
    """Of the server's resident memory, from before to while so many are open."""
    process = target.process
    if process is None:
        raise Failed("no process to be measured")
    body = {**CHAT, "stream": True, "messages": [{"role": "user", "content": HOLD.decode()}]}
    before = process.memory_info().rss
    options = _options(target, body, CHAT_PATH, concurrency=STREAMS) | {"hold": True}
    holder = await _start([sys.executable, "-m", "bench.load", json.dumps(options)], core=1, piped=True)
    try:
        async with asyncio.timeout(180):
            line = await holder.stdout.readline() if holder.stdout else b""
        if line.strip() != b"held":
            raise Failed(f"{STREAMS} streams were not open at once")
        return (process.memory_info().rss - before) / STREAMS / 1024
    finally:
        await _end(holder)


@contextlib.asynccontextmanager
async def _upstream() -> AsyncIterator[int]:
    port = servers.free_port()
    async with _running([sys.executable, "-m", "bench.upstream", str(port)], port, core=1):
        yield port


@contextlib.asynccontextmanager
async def _direct(upstream_port: int) -> AsyncIterator[Target]:
    yield Target(upstream_port, None)


@contextlib.asynccontextmanager
async def _sophia(upstream_port: int) -> AsyncIterator[Target]:
    port = servers.free_port()
    async with servers.fresh() as places, contextlib.AsyncExitStack() as stack:
        places.process.cpu_affinity(list(cores()[1]))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sophia-bench-"))
        config = Path(folder) / "sophia.yaml"
        config.write_text(CONFIG)
        environ = {
            **os.environ,
            "SOPHIA_REDIS_URL": places.redis_url,
            "SOPHIA_API_KEY": ADMIN_KEY,
            "OPENAI_BASE_URL": f"http://127.0.0.1:{upstream_port}/v1",
        }
        environ.pop("OPENAI_API_KEY", None)
        sophia = str(Path(sys.executable).parent / "sophia")
        common = ["--config", str(config), "--data-dir", folder, "--log-level", "error"]
        command = [sophia, "gateway", *common, "--port", str(port)]
        process = await stack.enter_async_context(_running(command, port, core=0, environ=environ))
        target = Target(port, process, {"authorization": f"Bearer {await _virtual_key(port)}"})
        router = await _start([sophia, "router", *common], core=1, environ=environ)
        try:
            await _admitting(target)
        finally:
            await _end(router)
        yield target


async def _virtual_key(port: int) -> str:
    """One that has everything the gateway can count."""
    wish = {
        "name": "bench",
        "requests_per_minute": PLENTY,
        "burst": PLENTY,
        "tokens_per_minute": PLENTY,
        "token_burst": PLENTY,
        "budget": {"usd_per_day": USD},
        "scopes": ["inference", "tasks"],
    }
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"http://127.0.0.1:{port}/v1/keys", json=wish) as answer,
    ):
        made = await answer.json()
        if answer.status >= 300:
            raise Failed(f"no virtual key: {made}")
        return str(made["key"])


async def _admitting(target: Target) -> None:
    """Budgets are open once the router has read the ledger, which it does once for every new Redis."""
    async with asyncio.timeout(60), aiohttp.ClientSession(headers=target.headers) as session:
        while True:
            async with session.post(f"http://127.0.0.1:{target.port}{CHAT_PATH}", json=CHAT) as answer:
                if answer.status == 200:
                    return
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def _portkey(upstream_port: int) -> AsyncIterator[Target]:
    port = servers.free_port()
    script = environment.node_package("@portkey-ai/gateway/build/start-server.js")
    command = ["node", str(script), f"--port={port}", "--headless"]
    environ = {**os.environ, "NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}
    headers = {
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://127.0.0.1:{upstream_port}/v1",
        "authorization": "Bearer nothing",
    }
    async with _running(command, port, core=0, environ=environ) as process:
        yield Target(port, process, headers)


@contextlib.asynccontextmanager
async def _litellm(upstream_port: int) -> AsyncIterator[Target]:
    port = servers.free_port()
    with tempfile.TemporaryDirectory(prefix="sophia-bench-") as folder:
        # It does not start without one.
        key = f"sk-{secrets.token_hex(32)}"
        config = Path(folder) / "config.yaml"
        config.write_text(
            "model_list:\n  - model_name: gpt-5\n    litellm_params:\n      model: openai/gpt-5\n"
            f"      api_base: http://127.0.0.1:{upstream_port}/v1\n      api_key: nothing\n"
            "litellm_settings: {drop_params: true}\n"
            f"general_settings: {{master_key: {key}}}\n"
        )
        command = [
            *(str(environment.tool("litellm", "litellm")), "--config", str(config)),
            *("--host", "127.0.0.1", "--port", str(port), "--num_workers", "1", "--telemetry", "False"),
        ]
        environ = {**os.environ, "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        async with _running(command, port, core=0, environ=environ) as process:
            yield Target(port, process, {"authorization": f"Bearer {key}"})


@contextlib.asynccontextmanager
async def _running(
    command: list[str], port: int, *, core: int, environ: dict[str, str] | None = None
) -> AsyncIterator[psutil.Process]:
    process = await _start(command, core=core, environ=environ)
    try:
        await _open(port, process)
        yield psutil.Process(process.pid)
    finally:
        await _end(process)


async def _start(
    command: list[str], *, core: int, environ: dict[str, str] | None = None, piped: bool = False
) -> asyncio.subprocess.Process:
    end = asyncio.subprocess.PIPE if piped else asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env=environ,
        stdin=end,
        stdout=end,
        stderr=end,
        preexec_fn=functools.partial(os.sched_setaffinity, 0, cores()[core]),
    )


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(10):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _open(port: int, process: asyncio.subprocess.Process) -> None:
    """Raises ``Failed`` when it does not listen within 90 s: LiteLLM needs most of a minute on a busy machine."""
    try:
        async with asyncio.timeout(90):
            while process.returncode is None:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    return
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise Failed("the server does not listen") from None
    raise Failed(f"the server ended with {process.returncode}")


def _options(target: Target, body: dict[str, Any], path: str, *, concurrency: int) -> dict[str, Any]:
    return {
        "port": target.port,
        "path": path,
        "body": body,
        "headers": target.headers,
        "concurrency": concurrency,
    }


async def _load(
    target: Target,
    body: dict[str, Any],
    seconds: float,
    *,
    concurrency: int = CONCURRENCY,
    rate: float = 0,
    path: str = CHAT_PATH,
) -> dict[str, float]:
    options = _options(target, body, path, concurrency=concurrency) | {"seconds": seconds, "rate": rate}
    before_s = _cpu_s(target)
    process = await _start([sys.executable, "-m", "bench.load", json.dumps(options)], core=1, piped=True)
    out, err = await process.communicate()
    if process.returncode != 0:
        raise Failed((err.decode().strip().splitlines() or ["the load ended"])[-1][:200])
    figures = dict(json.loads(out))
    asked = figures["n"] + WARM_UP * concurrency
    return {**figures, "cpu_us": (_cpu_s(target) - before_s) / asked * 1e6}


def _cpu_s(target: Target) -> float:
    if target.process is None:
        return 0.0
    times = target.process.cpu_times()
    return float(times.user + times.system)
