"""The page's files, the documentation, and the gateway as a service."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from sophia.gateway.service import Gateway
from sophia.nouns.errors import ConfigError
from tests.support.gateways import Platform, front_of_house


@pytest.fixture
def built_page(tmp_path: Path) -> Path:
    folder = tmp_path / "static"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>Sophia</title>")
    (folder / "assets" / "app-1a2b3c.js").write_text("export {}")
    (folder / "favicon.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (tmp_path / "secret.txt").write_text("outside")
    return folder


async def test_the_built_page_and_its_files(redis_url: str, tmp_path: Path, built_page: Path) -> None:
    async with front_of_house(redis_url, tmp_path, static_dir=built_page) as platform:
        async with aiohttp.ClientSession(platform.url) as anyone:
            for path in ("/", "/tasks/0123", "/pools"):
                async with anyone.get(path) as answer:
                    assert (answer.status, answer.content_type) == (200, "text/html"), path
                    assert answer.headers["Cache-Control"] == "no-cache"
                    policy = answer.headers["Content-Security-Policy"]
                    assert "script-src" not in policy
                    assert "default-src 'self'" in policy
                    assert "connect-src 'self' ws://127.0.0.1:" in policy
                    assert answer.headers["X-Content-Type-Options"] == "nosniff"
            async with anyone.get("/assets/app-1a2b3c.js") as answer:
                assert answer.status == 200
                assert "immutable" in answer.headers["Cache-Control"]
                etag = answer.headers["ETag"]
            async with anyone.get("/assets/app-1a2b3c.js", headers={"If-None-Match": etag}) as answer:
                assert answer.status == 304
            for path in ("/assets/gone.js", "/missing.png", "/v1/missing", "/..%2fsecret.txt", "/%2e%2e/secret.txt"):
                async with anyone.get(path) as answer:
                    assert answer.status == 404, path
                    assert b"outside" not in await answer.read()


async def test_a_page_that_was_not_built_says_how(platform: Platform) -> None:
    async with aiohttp.ClientSession(platform.url) as anyone:
        async with anyone.get("/") as answer:
            assert answer.status == 503
            assert "make up" in await answer.text()
        async with anyone.get("/docs") as answer:
            assert (answer.status, answer.content_type) == (200, "text/html")
        async with anyone.get("/openapi.json") as answer:
            assert (await answer.json())["info"]["version"] == "9.9.9"


async def test_a_port_in_use_is_named(platform: Platform) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        deps = dataclasses.replace(platform.gateway_deps, registry=CollectorRegistry())
        second = Gateway(deps, "127.0.0.1", port)
        with pytest.raises(ConfigError, match=f"port {port} on 127.0.0.1 is in use") as caught:
            async with asyncio.timeout(5):
                await second.run()
    assert caught.value.field == "server.port"
