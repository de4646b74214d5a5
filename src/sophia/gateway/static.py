"""The built page: its files, one answer for all of its own routes, and what to do when it was not built."""

from __future__ import annotations

from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from sophia.gateway.deps import GatewayDeps
from sophia.gateway.service_info import websocket_url

INDEX = "index.html"
HASHED = "assets/"
"""The folder whose files carry their content's hash in their names."""

_NOT_BUILT = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Sophia</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:4rem auto;padding:0 1rem}
code{background:#8882;padding:.1em .3em;border-radius:.2em}</style>
<h1>The page has not been built</h1>
<p>The API runs; only its web page is missing. <code>make up</code> builds it (it needs Node 20 or later).</p>
<p>Meanwhile: the <a href="/docs">API's documentation</a>, its <a href="/openapi.json">OpenAPI document</a>,
and <a href="/ready">whether it is ready</a>.</p></html>"""


def security_headers(connect: str) -> dict[str, str]:
    """``connect``: the WebSocket server's address, which is another origin than the page's.

    Styles may be inline since component libraries set them at run time; scripts may not.
    """
    policy = (
        "default-src 'self'; img-src 'self' data:; font-src 'self' data:; style-src 'self' 'unsafe-inline'; "
        f"connect-src 'self' {connect}; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
    }


class Page:
    """The page as an ASGI app: a file where there is one, else the page itself for whatever its router may know."""

    def __init__(self, deps: GatewayDeps) -> None:
        self._deps = deps
        self._files = _files(deps.static_dir)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response = await self._respond(request)
        url = websocket_url(request, self._deps)
        response.headers.update(security_headers(url.rpartition("/")[0]))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        path = request.url.path.lstrip("/")
        if self._files is None:
            if path:
                raise HTTPException(404)
            return HTMLResponse(_NOT_BUILT, 503)
        try:
            response = await self._files.get_response(path or INDEX, request.scope)
        except HTTPException as error:
            if error.status_code != 404 or not _may_be_a_route(path):
                raise
            path = INDEX
            response = await self._files.get_response(INDEX, request.scope)
        hashed = path.startswith(HASHED)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if hashed else "no-cache"
        return response


def _files(folder: Path | None) -> StaticFiles | None:
    if folder is None or not (folder / INDEX).is_file():
        return None
    return StaticFiles(directory=folder)


def _may_be_a_route(path: str) -> bool:
    """Whether the page's router may know this path: not the API's, and no file's name."""
    return not path.startswith(("v1/", HASHED)) and "." not in path.rpartition("/")[2]
