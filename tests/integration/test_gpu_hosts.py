"""GPU hosts: they join once, test themselves, and end themselves when nobody looks after them."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from pathlib import Path

import aiohttp
import msgspec
import pytest
import pytest_asyncio

from sophia.events.redis import RedisEventLog
from sophia.hosts.base import Joining
from sophia.hosts.join import CREDENTIALS, SETTINGS, join
from sophia.hosts.self_test import self_test
from sophia.hosts.tokens import ATTEMPTS_PER_MINUTE, RedisJoinTokens
from sophia.nouns.errors import RateLimited, Unauthorized, Unavailable
from sophia.queue.redis import QueueOptions
from sophia.settings.load import load
from tests.support.fault_proxy import FaultProxy
from tests.support.gateways import Platform, loaded_settings
from tests.support.gpu_hosts import CudaDriver, signs_of_life
from tests.support.models import make_models
from tests.support.waiting import eventually

HOST = Joining(instance_id="inference-1", pool="inference")


@pytest.fixture
def tokens(redis_client):
    return RedisJoinTokens(redis_client)


async def test_a_token_is_good_for_one_host_which_may_ask_again(tokens, redis_client):
    token = await tokens.issue(HOST, 60)
    assert await tokens.exchange(token, "key-of-the-host", "10.0.0.1") == HOST
    assert await tokens.exchange(token, "key-of-the-host", "10.0.0.1") == HOST
    with pytest.raises(Unauthorized):
        await tokens.exchange(token, "key-of-a-thief", "10.0.0.1")
    with pytest.raises(Unauthorized):
        await tokens.exchange("no-such-token", "key-of-the-host", "10.0.0.1")
    # Nothing that is kept lets anybody join.
    for key in await redis_client.keys("sophia:{hosts}:*"):
        assert token.encode() not in key
        assert token.encode() not in await redis_client.get(key)
        assert await redis_client.ttl(key) > 0


async def test_a_token_ends(tokens):
    token = await tokens.issue(HOST, 0.05)

    async def refused():
        try:
            await tokens.exchange(token, "another-key-each-time", "10.0.0.1")
        except Unauthorized:
            return True
        return False

    await eventually(refused)


async def test_attempts_are_limited_by_source(tokens):
    for _ in range(ATTEMPTS_PER_MINUTE):
        with pytest.raises(Unauthorized):
            await tokens.exchange("guess", "key", "10.0.0.9")
    with pytest.raises(RateLimited):
        await tokens.exchange("guess", "key", "10.0.0.9")
    token = await tokens.issue(HOST, 60)
    assert await tokens.exchange(token, "key", "10.0.0.1") == HOST


@pytest_asyncio.fixture
async def gateway(redis_url, tmp_path):
    loaded = msgspec.structs.replace(
        loaded_settings(tmp_path / "data"), host_credentials={"VLLM_API_KEY": "secret-of-vllm"}
    )
    async with Platform(loaded, redis_url, make_models(), None, 1000).running() as platform:
        yield platform


async def test_a_host_joins_over_http_and_gets_what_its_worker_needs(gateway, tmp_path):
    token = await RedisJoinTokens(gateway.client).issue(HOST, 60)
    folder = tmp_path / "host"
    joined = await join(gateway.url, token, folder, 5.0)
    assert (joined.instance_id, joined.pool) == ("inference-1", "inference")
    assert (folder / CREDENTIALS).read_text() == "VLLM_API_KEY=secret-of-vllm\n"
    assert stat.S_IMODE((folder / CREDENTIALS).stat().st_mode) == 0o600
    # What it got is a whole sophia.yaml.
    there = load(folder / SETTINGS, folder, {}, None).settings
    assert there.pools == gateway.loaded.settings.pools
    # The same host again, as after a lost answer; then another one.
    assert (await join(gateway.url, token, folder, 5.0)).instance_id == "inference-1"
    with pytest.raises(Unauthorized):
        await join(gateway.url, token, tmp_path / "thief", 5.0)
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{gateway.url}/v1/hosts/join", json={"token": "short"}) as answer:
            assert answer.status == 422
        body = {"token": token, "host_key": "k" * 20}
        async with session.post(f"{gateway.url}/v1/hosts/join", json=body) as answer:
            assert answer.status == 401
            assert token not in await answer.text()


async def test_a_host_that_cannot_reach_the_platform_says_so(tmp_path):
    with pytest.raises(Unavailable):
        await join("http://127.0.0.1:9", "token", tmp_path, 0.0)


def test_gpus_are_written_and_read():
    driver = CudaDriver(2)
    assert len(self_test(2, load=lambda _: driver)) == 2
    assert driver.held == {}
    with pytest.raises(Unavailable, match="2 GPUs are usable here, and 8 should be"):
        self_test(8, load=lambda _: driver)
    with pytest.raises(Unavailable, match="other bytes"):
        self_test(1, load=lambda _: CudaDriver(1, broken=True))
    with pytest.raises(Unavailable, match="cuInit failed with CUDA error 999"):
        self_test(1, load=lambda _: CudaDriver(1, starts=False))
    with pytest.raises(Unavailable, match="no CUDA driver"):
        self_test(None, load=_no_library)


def _no_library(name: str) -> None:
    raise OSError(f"{name}: cannot open shared object file")


async def test_a_worker_whose_control_plane_is_cut_off_drains_and_leaves(
    redis_url, redis_client, blocking_client, tmp_path
):
    """A real worker process; its only way to the queue is a proxy."""
    proxy = FaultProxy(tmp_path / "proxy.sock", Path(redis_url.removeprefix("unix://").partition("?")[0]))
    await proxy.start()
    seen = tmp_path / "seen"
    events = RedisEventLog(redis_client, blocking_client, QueueOptions(streams=("light",)))
    command = ["worker", "--pool", "cpu-workers", "--id", "w1", "--data-dir", str(tmp_path), "--profile", "local"]
    environment = {"PATH": os.environ["PATH"], "SOPHIA_REDIS_URL": f"unix://{tmp_path}/proxy.sock"}
    async with signs_of_life(events):
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sophia.cli.main", *command, "--lease-s", "2", "--seen-file", str(seen)),
            env=environment,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            first = await eventually(lambda: seen.exists() and seen.stat().st_mtime_ns, 30)
            await eventually(lambda: seen.stat().st_mtime_ns > first, 10)
            running = worker.returncode is None
            assert running
            proxy.stall()
            async with asyncio.timeout(30):
                _, said = await worker.communicate()
        finally:
            if worker.returncode is None:
                worker.kill()
                await worker.wait()
            proxy.resume()
            await proxy.stop()
    assert worker.returncode == 75, said.decode()
    assert "no pool manager was seen at work for 2 s" in said.decode()


async def test_a_queue_without_a_pool_manager_is_no_control_plane(redis_url, tmp_path):
    command = ["worker", "--pool", "cpu-workers", "--id", "w1", "--data-dir", str(tmp_path), "--profile", "local"]
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sophia.cli.main", *command, "--lease-s", "1"),
        env={"PATH": os.environ["PATH"], "SOPHIA_REDIS_URL": redis_url},
    )
    async with asyncio.timeout(30):
        assert await worker.wait() == 75
