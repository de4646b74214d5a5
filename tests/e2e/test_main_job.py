"""The main job on the whole platform: every task type by the command line, and OpenAI's own client."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import openai
import pytest
from aiohttp import web

from tests.support.platform import Platform, clean_environment
from tests.support.waiting import eventually

PAGE = (
    "<html><head><title>The heron</title></head><body><article><h1>The heron</h1>"
    + "<p>The grey heron is a wading bird. It stands still in shallow water and catches fish with its long bill.</p>"
    * 4
    + "</article></body></html>"
)


def sophia(
    platform: Platform, *words: str, stdin: str = "", timeout_s: float = 240
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sophia.cli.main", *words],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        cwd=platform.data_dir.parent,
        env={**clean_environment(), "SOPHIA_URL": platform.url, "SOPHIA_API_KEY": platform.api_key},
    )


def submitted(platform: Platform, *words: str, stdin: str = "") -> dict[str, Any]:
    done = sophia(platform, "submit", *words, "--wait", "--json", stdin=stdin)
    assert done.returncode == 0, done.stderr + done.stdout
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["state"] == "succeeded"
    return document


@pytest.fixture
def page_url(running_platform: Platform) -> Any:
    """A page on this machine, served while the test runs."""
    del running_platform

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    app = web.Application()
    app.router.add_get("/heron", page)
    with asyncio.Runner() as runner:

        async def start() -> tuple[web.AppRunner, str]:
            served = web.AppRunner(app)
            await served.setup()
            site = web.TCPSite(served, "127.0.0.1", 0)
            await site.start()
            port = served.addresses[0][1]
            return served, f"http://127.0.0.1:{port}/heron"

        served, url = runner.run(start())
        import threading

        loop = runner.get_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            yield url
        finally:
            asyncio.run_coroutine_threadsafe(served.cleanup(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)


def test_light(running_platform: Platform) -> None:
    task = submitted(running_platform, "light", "Say hello.", "--max-tokens", "24")
    assert task["result"]["text"].strip()
    assert task["usage"]["output_tokens"] > 0
    assert task["route"]["stream"] == "stream:light"


def test_long_planning(running_platform: Platform) -> None:
    task = submitted(running_platform, "long_planning", "Plan a picnic", "--set", "max_steps=3")
    steps = task["result"]["steps"]
    assert 1 <= len(steps) <= 3
    for step in steps:
        assert all(needed < step["id"] for needed in step["depends_on"])
    assert task["route"] == {"stream": "stream:planning", "target": "gpu", "reason": "type is long_planning"}


def test_code_generation(running_platform: Platform) -> None:
    task = submitted(running_platform, "code_generation", "A function that adds two numbers", "--max-tokens", "200")
    result = task["result"]
    assert result["language"] == "python"
    assert result["code"].strip()
    assert result["syntax_checked"]
    if result["syntax_error"] is None:
        compile(result["code"], "generated", "exec")


def test_web_research(running_platform: Platform, page_url: str) -> None:
    task = submitted(running_platform, "web_research", "What does the heron eat?", "--url", page_url)
    result = task["result"]
    assert result["answer"].strip()
    assert [source["url"] for source in result["sources"]] == [page_url]
    assert set(result["citations"]) <= {1}


def test_a_big_embedding_boots_its_pool_and_the_pool_goes_away_again(running_platform: Platform) -> None:
    texts = "\n".join(f"sentence number {number} about subject {number % 37}" for number in range(2_000))
    task = submitted(running_platform, "batch_embedding", "-", stdin=texts)
    assert task["route"]["stream"] == "stream:embedding"
    assert task["route"]["target"] == "gpu"
    assert task["attempts"][-1]["pool"] == "embedding"
    result = task["result"]
    assert (result["count"], result["dimensions"], len(result["vectors"])) == (2_000, 384, 2_000)
    vectors = np.array(result["vectors"], dtype=np.float32)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)

    async def gone() -> bool:
        headers = {"Authorization": f"Bearer {running_platform.api_key}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            async with session.get(f"{running_platform.url}/v1/pools") as answer:
                pools = {pool["name"]: pool for pool in (await answer.json())["pools"]}
        return all(instance["state"] == "terminated" for instance in pools["embedding"]["instances"])

    asyncio.run(eventually(gone, 60))


def test_watching_shows_the_story_and_exit_codes_tell_the_outcome(running_platform: Platform) -> None:
    done = sophia(running_platform, "submit", "light", "Say hello.", "--max-tokens", "16", "--watch")
    assert done.returncode == 0
    for word in ("queued", "stream:light", "running", "attempt 1", "cpu-workers", "succeeded", "cost"):
        assert word in done.stdout
    cancelled = sophia(running_platform, "submit", "light", "x", "--set", "prompt=Tell a very long story", "--json")
    task_id = json.loads(cancelled.stdout)["id"]
    assert sophia(running_platform, "cancel", task_id).returncode == 0
    assert sophia(running_platform, "watch", task_id).returncode == 3
    late = sophia(running_platform, "submit", "light", "x", "--timeout", "0.05", "--wait")
    assert late.returncode == 4
    assert sophia(running_platform, "submit", "lihgt", "x").returncode == 2


@pytest.mark.long
def test_twice_as_many_of_each_at_once(running_platform: Platform, page_url: str) -> None:
    bodies: list[dict[str, Any]] = [
        {"type": "light", "payload": {"prompt": "Say hi.", "max_tokens": 12}},
        {"type": "long_planning", "payload": {"goal": "Tidy a desk", "max_steps": 2}},
        {"type": "code_generation", "payload": {"prompt": "print hello", "max_tokens": 60}},
        {"type": "batch_embedding", "payload": {"texts": ["a", "b", "c"]}},
        {"type": "web_research", "payload": {"question": "What is a heron?", "urls": [page_url], "max_tokens": 30}},
    ] * 2

    async def all_of_them() -> list[dict[str, Any]]:
        headers = {"Authorization": f"Bearer {running_platform.api_key}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            async with session.post(f"{running_platform.url}/v1/tasks/batch", json={"tasks": bodies}) as answer:
                assert answer.status == 202, await answer.text()
                ids = [task["id"] for task in (await answer.json())["tasks"]]
            return [await finished(session, running_platform, task_id) for task_id in ids]

    for task in asyncio.run(all_of_them()):
        assert task["state"] == "succeeded", task["error"]


async def finished(session: aiohttp.ClientSession, platform: Platform, task_id: str, within_s: float = 240) -> Any:
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        async with session.get(f"{platform.url}/v1/tasks/{task_id}?wait=30") as answer:
            task = await answer.json()
        if task["state"] in ("succeeded", "failed", "cancelled", "dead"):
            return task
    raise AssertionError(f"{task_id} is still {task['state']} after {within_s:g} s")


@pytest.fixture
def client(running_platform: Platform) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{running_platform.url}/v1", api_key=running_platform.api_key, max_retries=0)


def test_the_unmodified_openai_client(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert "smollm2-135m-instruct" in names
    plain = client.chat.completions.create(
        model="smollm2-135m-instruct", messages=[{"role": "user", "content": "Say hello."}], max_tokens=16
    )
    assert plain.choices[0].message.content
    assert plain.usage is not None
    stream = client.chat.completions.create(
        model="smollm2-135m-instruct",
        messages=[{"role": "user", "content": "Say hello."}],
        max_tokens=16,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[-1].usage is not None
    floats, packed = (
        client.embeddings.create(model="all-minilm-l6-v2", input=["a heron", "a bird"], encoding_format=encoding)
        for encoding in ("float", "base64")
    )
    raw: Any = packed.data[0].embedding
    decoded: Sequence[float] = struct.unpack("<384f", base64.b64decode(raw))
    assert np.allclose(decoded, floats.data[0].embedding, atol=1e-5)


def test_metrics_of_all_processes_are_served_together(running_platform: Platform) -> None:
    async def text() -> str:
        async with aiohttp.ClientSession() as session, session.get(running_platform.metrics_url) as answer:
            return await answer.text()

    page = asyncio.run(text())
    for name in ("http_request_duration_seconds_bucket", "tasks_processed_total", "websocket_active_connections"):
        assert name in page


def test_a_second_platform_over_the_same_folder_is_refused(running_platform: Platform, tmp_path: Path) -> None:
    other = Platform(running_platform.data_dir, running_platform.port)
    with pytest.raises(AssertionError, match="in use"):
        other.start()
