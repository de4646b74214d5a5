"""A web server with pages of every kind, good and bad."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web
from aiohttp.test_utils import TestServer

LIGHTHOUSE = """<!doctype html><html><head><title>The lighthouse of Norhaven</title></head><body>
<nav><a href="/">Home</a><a href="/about">About</a></nav>
<article><h1>The lighthouse of Norhaven</h1>
<p>The lighthouse of Norhaven was built in 1843 by the engineer Ada Marsh. It stands 41 metres high on the northern
cliff and its light can be seen for 22 nautical miles.</p>
<p>The light was changed from oil to electricity in 1926. Since 1988 the lighthouse has had no keeper.</p></article>
<footer>Cookies, imprint, and so on.</footer></body></html>"""

MUSEUM = """The Norhaven museum opens at ten o'clock on every day but Monday.
Tickets cost four crowns."""


class WebPages:
    """``base`` is its address without a slash at the end."""

    def __init__(self) -> None:
        self.base = ""
        self.paths: list[str] = []
        self.running = 0
        self.most_at_once = 0
        self.search_results: object = None

    def url(self, path: str) -> str:
        return self.base + path

    async def respond(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.path_qs)
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        try:
            return await self._page(request)
        finally:
            self.running -= 1

    async def _page(self, request: web.Request) -> web.StreamResponse:
        name = request.path.removeprefix("/")
        if name.startswith("status/"):
            return web.Response(status=int(name.removeprefix("status/")), headers={"Retry-After": "7"})
        if name.startswith("hops/"):
            return web.Response(status=302, headers={"Location": f"/hops/{int(name.removeprefix('hops/')) - 1}"})
        page = getattr(self, f"_{name}", None)
        return web.Response(status=404) if page is None else await page(request)

    async def _lighthouse(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text=LIGHTHOUSE, content_type="text/html")

    async def _museum(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text=MUSEUM, content_type="text/plain")

    async def _latin(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body="Åse è là".encode("latin-1"), headers={"Content-Type": "text/plain; charset=latin-1"})

    async def _moved(self, request: web.Request) -> web.StreamResponse:
        return web.Response(status=301, headers={"Location": "/lighthouse"})

    async def _to(self, request: web.Request) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": request.query["url"]})

    async def _image(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"\x89PNG", content_type="image/png")

    async def _empty(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text="<html><body></body></html>", content_type="text/html")

    async def _declared(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"x" * 300_000, content_type="text/plain")

    async def _endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)

    async def _bomb(self, request: web.Request) -> web.StreamResponse:
        body = gzip.compress(b"x" * 50_000_000)
        return web.Response(body=body, headers={"Content-Type": "text/plain", "Content-Encoding": "gzip"})

    async def _slow(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response(text="at last")

    async def _trickle(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.05)

    async def _busy(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.1)
        return web.Response(text="busy")

    async def _broken(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def _search(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=msgspec.json.encode(self.search_results), content_type="application/json")


@asynccontextmanager
async def web_pages() -> AsyncIterator[WebPages]:
    pages = WebPages()
    app = web.Application()
    app.router.add_get("/{path:.*}", pages.respond)
    server = TestServer(app)
    await server.start_server()
    pages.base = str(server.make_url("")).rstrip("/")
    try:
        yield pages
    finally:
        await server.close()
