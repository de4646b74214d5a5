"""Who may connect: keys, origins, and how many."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from urllib.parse import urlsplit

from aiohttp import web

from sophia.nouns.errors import Forbidden, InvalidInput, RateLimited, Unauthorized, Unavailable
from sophia.settings.keyring import Keyring
from sophia.websocket.deps import WebSocketDeps
from sophia.websocket.protocol import PROTOCOL

_BEARER_PROTOCOL = "bearer."
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Admission:
    """Checks made before the upgrade, so that a refusal is a plain HTTP answer."""

    def __init__(self, deps: WebSocketDeps) -> None:
        self._deps = deps
        self._keyring = Keyring(deps.loaded.api_keys)
        self._per_ip: Counter[str] = Counter()

    def tenant_of(self, request: web.Request) -> str:
        """Raises ``Unauthorized``, or ``Forbidden`` for a page of another origin."""
        offered = _protocols(request)
        if offered and PROTOCOL not in offered:
            raise InvalidInput(f"the subprotocols offered do not include {PROTOCOL}", field="Sec-WebSocket-Protocol")
        key = _key_of(request, offered)
        if key is None:
            raise Unauthorized(
                "an API key is needed",
                mend=f"`Authorization: Bearer KEY`, the subprotocols {PROTOCOL} and bearer.KEY, or `?token=KEY`",
            )
        tenant = self._keyring.tenant_of(key)
        if tenant is None:
            raise Unauthorized("this API key is not known")
        self._check_origin(request)
        return tenant

    @contextlib.contextmanager
    def place(self, request: web.Request) -> Iterator[None]:
        """Holds one of the places of the client's address. Raises ``RateLimited`` or ``Unavailable`` without one."""
        limits = self._deps.loaded.settings.websocket
        ip = self._ip_of(request)
        if self._per_ip[ip] >= limits.max_connections_per_ip:
            raise RateLimited(
                f"there are {limits.max_connections_per_ip} connections from {ip} already", retry_after_s=10
            )
        if self._per_ip.total() >= limits.max_connections:
            raise Unavailable("this server has as many connections as it takes", retry_after_s=5)
        self._per_ip[ip] += 1
        try:
            yield
        finally:
            self._per_ip[ip] -= 1
            if not self._per_ip[ip]:
                del self._per_ip[ip]

    def _ip_of(self, request: web.Request) -> str:
        header = self._deps.client_ip_header
        return (request.headers.get(header) if header else None) or request.remote or "unknown"

    def _check_origin(self, request: web.Request) -> None:
        """Only browsers send an origin. The page comes from the gateway: this host, on its port or a proxy's."""
        origin = request.headers.get("Origin")
        if origin is None or origin in self._deps.allowed_origins:
            return
        page, here = urlsplit(origin), urlsplit(f"//{request.headers.get('Host', '')}")
        try:
            port = page.port or _DEFAULT_PORTS.get(page.scheme)
        except ValueError:
            port = None
        ports = {self._deps.loaded.settings.server.port, here.port, *_DEFAULT_PORTS.values()}
        if page.hostname is None or page.hostname != here.hostname or port not in ports:
            raise Forbidden(f"pages of {origin[:200]} may not connect")


def _protocols(request: web.Request) -> list[str]:
    headers = request.headers.getall("Sec-WebSocket-Protocol", [])
    return [part.strip() for header in headers for part in header.split(",") if part.strip()]


def _key_of(request: web.Request, offered: list[str]) -> str | None:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    for protocol in offered:
        if protocol.startswith(_BEARER_PROTOCOL):
            return protocol.removeprefix(_BEARER_PROTOCOL)
    return request.query.get("token") or None
