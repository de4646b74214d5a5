"""Emulated clouds for tests: real servers on free ports, and their published documents."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.types import ASGIApp

from sophia.emulated.cloud import Nature
from sophia.emulated.lambda_cloud import PREFIX, EmulatedLambda
from sophia.emulated.server import CloudServer
from sophia.nouns.clock import SystemClock
from sophia.providers.lambda_cloud import AiohttpTransport, LambdaClient, LambdaProvider

CONTRACTS = Path(__file__).parents[3] / "shared" / "contracts"
KEY = "emulated"


@contextlib.asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    """The server's URL."""
    server = CloudServer(app)
    task = asyncio.create_task(server.run())
    try:
        yield server.url
    finally:
        server.stop()
        await task


@contextlib.asynccontextmanager
async def emulated_lambda(nature: Nature, **options: Any) -> AsyncIterator[tuple[EmulatedLambda, str]]:
    """The account, and the base URL of its API. Its time is real time."""
    cloud = EmulatedLambda(time.monotonic, nature, api_key=KEY, **options)
    async with served(cloud.app) as url:
        yield cloud, url + PREFIX


def lambda_client(url: str, *, key: str = KEY, request_every_s: float = 0, launch_every_s: float = 0) -> LambdaClient:
    clock = SystemClock()
    transport = AiohttpTransport(url, key, timeout_s=5.0)
    return LambdaClient(transport, clock, request_every_s=request_every_s, launch_every_s=launch_every_s)


def lambda_provider(url: str, owner: str = "tests", **options: Any) -> LambdaProvider:
    return LambdaProvider(lambda_client(url), SystemClock(), owner=owner, **options)


def contract(name: str) -> Any:
    """A published document. Skips the test where it is not at hand; continuous integration must have it."""
    path = CONTRACTS / name
    if path.exists():
        return msgspec.json.decode(path.read_bytes())
    message = f"{path} is not here"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
