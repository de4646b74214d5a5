"""Real model servers for every test, and a ``ModelDirectory`` that uses them."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
import pytest_asyncio
from msgspec.structs import replace

from sophia.embedded.child import dies_with_parent
from sophia.inference.base import Embedder
from sophia.inference.directory import ModelDirectory
from sophia.settings.inference import ModelSettings
from sophia.settings.load import merged_settings
from sophia.settings.resolve import resolve

REPOSITORY = Path(__file__).parents[2]
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 20.0


@pytest.fixture(scope="session")
def chat_server_url() -> Iterator[str]:
    """Base URL, ending in ``/v1``, of a llama.cpp server with the packaged chat model."""
    with model_server("chat") as url:
        yield url


@pytest.fixture(scope="session")
def embedding_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the embedding model's graph is kept, so that one session builds it once."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def embedding_server_url(embedding_cache: Path) -> Iterator[str]:
    """Base URL, ending in ``/v1``, of an embedding server with the packaged model."""
    with model_server("embedding", embedding_cache) as url:
        yield url


@pytest_asyncio.fixture
async def chat_models(chat_server_url: str) -> AsyncIterator[ModelDirectory]:
    """The local profile's models with the real chat server; nothing serves embeddings."""
    models = make_models(chat_url=chat_server_url)
    yield models
    await models.close()


@pytest_asyncio.fixture
async def models(chat_server_url: str, embedding_server_url: str) -> AsyncIterator[ModelDirectory]:
    """The local profile's models with both real servers."""
    models = make_models(chat_url=chat_server_url, embedding_url=embedding_server_url)
    yield models
    await models.close()


@contextmanager
def model_server(kind: str, cache: Path = Path()) -> Iterator[str]:
    """A model server as a child process: its base URL once it answers ``/health``."""
    port = free_port()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.model_server", kind, str(port), str(cache)],
            cwd=REPOSITORY,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=dies_with_parent(),
        )
        try:
            _wait_for_health(process, port, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_TIMEOUT_S)
                raise


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_models(
    *,
    chat_url: str | None = None,
    embedding_url: str | None = None,
    embedders: Mapping[str, Embedder] | None = None,
    outline_first: bool = True,
    changed: Mapping[str, ModelSettings] | None = None,
) -> ModelDirectory:
    """A directory over the packaged local profile with the servers at these addresses. Close it. Without
    ``outline_first`` its chat model passes for a larger one; ``changed`` models take the place of packaged ones."""
    environ = {"SOPHIA_PROFILE": "local"}
    if chat_url is not None:
        environ["SOPHIA_LLAMA_URL"] = chat_url
    if embedding_url is not None:
        environ["SOPHIA_EMBEDDER_URL"] = embedding_url
    loaded = resolve(merged_settings(None, environ), environ, config_path=None, data_dir=Path("unused"))
    settings = loaded.settings
    if not outline_first:
        larger = {name: replace(model, outline_first=False) for name, model in settings.models.items()}
        settings = replace(settings, models=larger)
    if changed:
        settings = replace(settings, models={**settings.models, **changed})
    return ModelDirectory(settings, loaded.providers, embedders)


def _wait_for_health(process: subprocess.Popen[bytes], port: int, log: IO[bytes]) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.05)
    log.seek(0)
    raise AssertionError(f"the model server did not start (exit status {process.poll()}): {log.read().decode()}")
