"""Models that pools serve: scripted servers, announced in a real registry."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from sophia.inference.base import Reply
from sophia.inference.client import CHAT_PATH
from sophia.inference.directory import ModelDirectory
from sophia.inference.registry import Endpoint
from sophia.inference.registry_redis import RedisEndpointRegistry
from sophia.nouns.errors import Unavailable
from sophia.redis.connection import Client
from sophia.settings.load import merged_settings
from sophia.settings.resolve import resolve
from tests.support.models import free_port
from tests.support.providers import ScriptedProvider, plain, scripted_provider, silent, streamed
from tests.support.waiting import eventually

CHUNK = {"choices": [{"index": 0, "delta": {"content": "a"}}]}
CONFIG = """
pools:
  vllm: {max: 1, scaling: {when_cold: {wait_s: WAIT}}}
providers:
  ours: {kind: pool, pool: vllm, breaker: {failures: 1, open_s: 60, open_max_s: 60}}
  theirs: {kind: openai, base_url: THEIRS}
models:
  own: {kind: chat, providers: {ours: own}, fallback: {retries: 1, retry_base_s: 0.01}}
  both: {kind: chat, providers: {ours: both, theirs: hosted}}
"""


class Pool:
    def __init__(self, directory: ModelDirectory, registry: RedisEndpointRegistry, theirs: ScriptedProvider) -> None:
        self.directory = directory
        self.registry = registry
        self.theirs = theirs

    async def announce(self, id: str, url: str, model: str = "own", **given: Any) -> None:
        fields = {"ready": True, **given}
        await self.registry.announce(Endpoint(id=id, model=model, url=url, pool="vllm", instance="i", **fields), 60)

    async def ask(self, text: str = "hi", model: str = "own", **more: Any) -> Reply:
        body = {"messages": [{"role": "user", "content": text}], **more}
        return await self.directory.forward(self.directory.resolve(model, kind="chat"), CHAT_PATH, body)


@contextlib.asynccontextmanager
async def pool_of(client: Client, tmp_path: Path, wait_s: float) -> AsyncIterator[Pool]:
    async with scripted_provider() as theirs:
        theirs.answer = plain({"theirs": True})
        path = tmp_path / "sophia.yaml"
        path.write_text(CONFIG.replace("WAIT", str(wait_s)).replace("THEIRS", theirs.url))
        environ = {"SOPHIA_PROFILE": "local"}
        loaded = resolve(merged_settings(path, environ), environ, config_path=None, data_dir=Path("unused"))
        registry = RedisEndpointRegistry(client)
        directory = ModelDirectory(loaded.settings, loaded.providers, endpoints=registry)
        try:
            yield Pool(directory, registry, theirs)
        finally:
            await directory.close()


@pytest_asyncio.fixture
async def servers() -> AsyncIterator[list[ScriptedProvider]]:
    async with scripted_provider() as one, scripted_provider() as two:
        one.answer = two.answer = plain({"fine": True})
        yield [one, two]


async def test_conversations_stay_where_they_are_and_all_replicas_work(
    redis_client: Client, tmp_path: Path, servers: list[ScriptedProvider]
):
    async with pool_of(redis_client, tmp_path, 0) as pool:
        for number, server in enumerate(servers):
            await pool.announce(f"e{number}", server.url)
        await asyncio.gather(*(pool.ask(f"conversation {number % 10}") for number in range(40)))
        asked = [{body["messages"][0]["content"] for body in server.bodies} for server in servers]
        assert all(asked)
        assert not asked[0] & asked[1]
        assert {body["model"] for server in servers for body in server.bodies} == {"own"}


async def test_a_busy_replica_gives_way(redis_client: Client, tmp_path: Path, servers: list[ScriptedProvider]):
    async with pool_of(redis_client, tmp_path, 0) as pool:
        for number, server in enumerate(servers):
            server.answer = streamed(CHUNK, hang=True)
            await pool.announce(f"e{number}", server.url)
        replies = [await pool.ask("the same", stream=True, max_tokens=3000) for _ in range(4)]
        assert [server.running for server in servers] == [2, 2]
        for reply in replies:
            await reply.close()
        await eventually(lambda: not any(server.running for server in servers))


async def test_one_that_drains_gets_nothing_new_and_ends_what_it_has(
    redis_client: Client, tmp_path: Path, servers: list[ScriptedProvider]
):
    async with pool_of(redis_client, tmp_path, 10) as pool:
        release = asyncio.Event()

        async def held(request: Any, body: Any) -> Any:
            await release.wait()
            return await plain({"done": True})(request, body)

        servers[0].answer = held
        await pool.announce("e0", servers[0].url)
        running = asyncio.create_task(pool.ask())
        await eventually(lambda: servers[0].running)
        await pool.announce("e0", servers[0].url, draining=True)
        await pool.announce("e1", servers[1].url)

        async def moved() -> bool:
            attempt = asyncio.create_task(pool.ask())
            done, _ = await asyncio.wait({attempt}, timeout=0.3)
            if not done:
                attempt.cancel()
            return bool(done)

        await eventually(moved, timeout_s=15)
        release.set()
        assert await (await running).read() == b'{"done":true}'
        assert servers[1].bodies


async def test_a_dead_replica_is_passed_over(redis_client: Client, tmp_path: Path, servers: list[ScriptedProvider]):
    async with pool_of(redis_client, tmp_path, 0) as pool:
        await pool.announce("dead", f"http://127.0.0.1:{free_port()}/v1")
        await pool.announce("alive", servers[0].url)
        replies = await asyncio.gather(*(pool.ask(f"conversation {number}") for number in range(20)))
        assert {reply.status for reply in replies} == {200}
        assert len(servers[0].bodies) == 20


async def test_while_cold_a_call_is_held_and_asked_for(
    redis_client: Client, tmp_path: Path, servers: list[ScriptedProvider]
):
    async with pool_of(redis_client, tmp_path, 30) as pool:
        await pool.announce("e0", servers[0].url, ready=False)
        held = asyncio.create_task(pool.ask())

        async def wanted() -> bool:
            return await pool.registry.wanted() == {"own": 1}

        await eventually(wanted)
        await pool.announce("e0", servers[0].url)
        assert (await asyncio.wait_for(held, 15)).headers["x-sophia-provider"] == "ours"


async def test_what_cannot_be_held_longer_overflows(redis_client: Client, tmp_path: Path):
    async with pool_of(redis_client, tmp_path, 0.2) as pool:
        reply = await pool.ask(model="both")
        assert (reply.headers["x-sophia-provider"], reply.headers["x-sophia-attempts"]) == ("theirs", "2")
        assert pool.theirs.bodies[0]["model"] == "hosted"
        assert await pool.registry.wanted() == {"both": 1}
        with pytest.raises(Unavailable, match="no server of own is ready") as raised:
            await pool.ask()
        assert raised.value.retry_after_s == 30


async def test_without_a_registry_pools_serve_nothing(redis_client: Client, tmp_path: Path):
    async with pool_of(redis_client, tmp_path, 0) as pool:
        plainly = ModelDirectory(pool.directory._settings, pool.directory._providers)
        assert [card.id for card in plainly.cards()] == ["both"]


async def test_leaving_while_it_is_held_leaves_nothing(
    redis_client: Client, tmp_path: Path, servers: list[ScriptedProvider]
):
    async with pool_of(redis_client, tmp_path, 30) as pool:
        held = asyncio.create_task(pool.ask())
        await eventually(lambda: pool.directory.deployments(pool.directory.resolve("own", kind="chat"))[0].in_flight)
        held.cancel()
        with pytest.raises(asyncio.CancelledError):
            await held
        servers[0].answer = silent
        assert pool.directory.deployments(pool.directory.resolve("own", kind="chat"))[0].in_flight == 0
