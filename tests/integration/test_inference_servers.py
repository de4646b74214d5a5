"""The model servers as processes: they say what keeps them from starting, and stop in bounded time whatever runs."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sophia.inference import embedding_server, llama_server
from sophia.inference.onnx_embedder import packaged_embedder
from sophia.nouns.errors import ConfigError
from tests.support.model_server import LLAMA
from tests.support.models import REPOSITORY, free_port
from tests.support.waiting import eventually

LONG = {"messages": [{"role": "user", "content": "A long story."}], "max_tokens": 4000, "ignore_eos": True}


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@asynccontextmanager
async def chat_server(session: aiohttp.ClientSession, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    async def healthy() -> bool:
        try:
            async with session.get(f"http://127.0.0.1:{port}/health") as answer:
                return answer.status == 200
        except aiohttp.ClientConnectionError:
            return False

    command = [sys.executable, "-m", "tests.support.model_server", "chat", str(port), "."]
    process = await asyncio.create_subprocess_exec(*command, cwd=REPOSITORY)
    try:
        await eventually(healthy, timeout_s=60)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_an_idle_chat_server_stops():
    async with aiohttp.ClientSession() as session, chat_server(session, free_port()) as process:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 30) == 0


@pytest.mark.parametrize("stream", [True, False])
async def test_a_chat_server_stops_while_an_answer_runs(stream: bool):
    port = free_port()
    root = f"http://127.0.0.1:{port}"

    async def busy() -> bool:
        async with session.get(f"{root}/slots") as answer:
            return any(slot["is_processing"] for slot in await answer.json())

    async with aiohttp.ClientSession() as session, chat_server(session, port) as process:
        asking = asyncio.create_task(_read(session, f"{root}/v1/chat/completions", LONG | {"stream": stream}))
        await eventually(busy, timeout_s=10)
        began_s = time.monotonic()
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 30) == 0
        assert time.monotonic() - began_s < llama_server.STOP_GRACE_S + 15
        with pytest.raises(aiohttp.ClientError):
            await asking


async def test_a_taken_port_is_a_clear_error(taken_port: int, embedding_cache: Path):
    with pytest.raises(ConfigError, match=f"port {taken_port} .* in use"):
        await llama_server.serve("127.0.0.1", taken_port, LLAMA, asyncio.Event())
    engine = packaged_embedder(embedding_cache, max_tokens=256, threads=1)
    with pytest.raises(ConfigError, match=f"port {taken_port} .* in use"):
        await embedding_server.serve("127.0.0.1", taken_port, engine, asyncio.Event())


async def test_a_model_that_cannot_be_loaded_is_a_clear_error(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"no\.gguf"):
        await llama_server.serve("127.0.0.1", free_port(), LLAMA, asyncio.Event(), model_file=tmp_path / "no.gguf")


async def _read(session: aiohttp.ClientSession, url: str, body: Any) -> bytes:
    async with session.post(url, json=body) as answer:
        return await answer.read()
