"""The supervisor of served models over llama.cpp's real server and a real registry: readiness, crashes, drains, metrics."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import pytest_asyncio
from prometheus_client import CollectorRegistry, generate_latest

from sophia.hosts.gpu_metrics import GpuMetrics
from sophia.hosts.model_server import ModelServer, Paces, ServedCommand
from sophia.hosts.server_metrics import ServerMetrics, in_flight
from sophia.inference.packaged import CHAT_MODEL
from sophia.inference.registry import Endpoint
from sophia.inference.registry_redis import RedisEndpointRegistry
from sophia.redis.connection import Client
from tests.support.models import REPOSITORY, free_port
from tests.support.waiting import eventually

PACES = Paces(ready_timeout_s=120, drain_s=60, backoff_s=0.05, backoff_max_s=0.2, announce_every_s=0.2)
LONG = {
    "model": CHAT_MODEL,
    "prompt": "Once upon a time",
    "max_tokens": 200,
    "stream": True,
    "ignore_eos": True,
}


@pytest_asyncio.fixture
async def registry(redis_client: Client) -> RedisEndpointRegistry:
    return RedisEndpointRegistry(redis_client)


class Served:
    def __init__(self, server: ModelServer, registry: RedisEndpointRegistry, root_url: str) -> None:
        self.server, self.root_url = server, root_url
        self.metrics = server._metrics
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(server.run(self.stop))
        self._registry = registry

    async def endpoint(self) -> Endpoint | None:
        return next(iter(await self._registry.snapshot()), None)

    async def becomes(self, what: Callable[[Endpoint | None], bool]) -> None:
        async def seen() -> bool:
            return what(await self.endpoint())

        await eventually(seen, timeout_s=120)


@asynccontextmanager
async def served(
    registry: RedisEndpointRegistry, tmp_path: Path, command: list[str] | None = None, paces: Paces = PACES
) -> AsyncIterator[Served]:
    port = free_port()
    root_url = f"http://127.0.0.1:{port}"
    served_command = ServedCommand(
        command=command or [sys.executable, "-m", "tests.support.model_server", "chat", str(port), ""],
        environment={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        root_url=root_url,
        log=tmp_path / "server.log",
    )
    endpoint = Endpoint(id="i-1/m", model=CHAT_MODEL, url=f"{root_url}/v1", pool="vllm", instance="i-1")
    running = Served(ModelServer(served_command, endpoint, registry, ServerMetrics(), paces), registry, root_url)
    try:
        yield running
    finally:
        running.stop.set()
        await asyncio.wait_for(running.task, 90)


async def test_a_server_is_announced_when_it_answers_and_started_again_when_it_crashes(
    registry: RedisEndpointRegistry, tmp_path: Path
):
    async with served(registry, tmp_path) as running:
        await running.becomes(lambda endpoint: endpoint is not None and not endpoint.ready)
        await running.becomes(lambda endpoint: endpoint is not None and endpoint.ready)
        first = running.server.pid
        assert first is not None

        exposed = CollectorRegistry()
        exposed.register(running.metrics)
        await eventually(lambda: b"llamacpp:requests_processing" in generate_latest(exposed), timeout_s=30)
        assert f'served_model="{CHAT_MODEL}"'.encode() in generate_latest(exposed)

        os.kill(first, signal.SIGKILL)
        await running.becomes(lambda endpoint: endpoint is None or not endpoint.ready)
        await running.becomes(lambda endpoint: endpoint is not None and endpoint.ready)
        assert running.server.starts == 2
        assert running.server.pid not in (None, first)
    assert await running.endpoint() is None
    assert running.task.done()
    assert generate_latest(exposed) == b""


async def test_what_runs_is_finished_before_the_server_is_stopped(registry: RedisEndpointRegistry, tmp_path: Path):
    async with served(registry, tmp_path) as running, aiohttp.ClientSession(running.root_url) as client:
        await running.becomes(lambda endpoint: endpoint is not None and endpoint.ready)
        async with client.post("/v1/completions", json=LONG) as answer:
            assert answer.status == 200
            await answer.content.readline()
            running.stop.set()
            await running.becomes(lambda endpoint: endpoint is not None and endpoint.draining)
            assert running.server.pid is not None
            assert (await answer.read()).rstrip().endswith(b"data: [DONE]")
        await asyncio.wait_for(running.task, 60)
        assert await running.endpoint() is None


async def test_a_server_that_never_answers_is_ended_with_its_children_and_tried_again(
    registry: RedisEndpointRegistry, tmp_path: Path
):
    pids = tmp_path / "pids"
    deaf = [
        "/bin/sh",
        "-c",
        f"trap '' TERM; sleep 600 & echo $! >> {pids}; exec sleep 600",
    ]
    paces = msgspec.structs.replace(PACES, ready_timeout_s=0.3, term_grace_s=0.2, drain_s=0.5)
    async with served(registry, tmp_path, deaf, paces) as running:
        await eventually(lambda: running.server.starts >= 3, timeout_s=60)
        endpoint = await running.endpoint()
        assert endpoint is None or not endpoint.ready
    for pid in map(int, pids.read_text().split()):
        await eventually(functools.partial(_ended, pid), timeout_s=30)


def _ended(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return stat.rsplit(")", 1)[1].split()[0] == "Z"


def test_requests_in_flight_are_unknown_where_metrics_do_not_say():
    assert in_flight(None) is None
    assert in_flight("") is None
    assert in_flight("half a {line") is None
    assert in_flight('# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{engine="0"} 2.0\n') == 2
    both = 'vllm:num_requests_running{engine="0"} 1.0\nvllm:num_requests_waiting{engine="0"} 3.0\n'
    assert in_flight(both) == 4


class FakeDriver:
    """NVIDIA's library on a machine with two GPUs, of which the second gives no utilization (as under MIG)."""

    class NVMLError(Exception):
        pass

    class _Readings:
        def __init__(self, **values: int) -> None:
            self.__dict__.update(values)

    lost = False

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        if self.lost:
            raise self.NVMLError("GPU is lost")
        return 2

    def nvmlDeviceGetHandleByIndex(self, number: int) -> int:  # noqa: N802
        return number

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> object:  # noqa: N802
        if handle == 1:
            raise self.NVMLError("Not Supported")
        return self._Readings(gpu=37)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> object:  # noqa: N802
        return self._Readings(used=10 + handle, total=80)


def test_gpu_metrics_are_what_the_driver_gives_and_absent_where_it_gives_none():
    registry = CollectorRegistry()
    driver = FakeDriver()
    registry.register(GpuMetrics(driver))
    assert registry.get_sample_value("gpu_utilization_percent", {"gpu": "0"}) == 37
    assert registry.get_sample_value("gpu_utilization_percent", {"gpu": "1"}) is None
    assert registry.get_sample_value("gpu_memory_used_bytes", {"gpu": "1"}) == 11
    assert registry.get_sample_value("gpu_memory_total_bytes", {"gpu": "0"}) == 80
    driver.lost = True
    assert generate_latest(registry) == b""
