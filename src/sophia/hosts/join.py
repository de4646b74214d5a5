"""A host joins: its token for the credentials and settings that its worker runs with."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from pathlib import Path
from typing import Any

import msgspec

from sophia.nouns.errors import RateLimited, SophiaError, Unauthorized, Unavailable
from sophia.providers.http import ApiTransport

log = logging.getLogger(__name__)

CREDENTIALS = "credentials.env"
SETTINGS = "sophia.yaml"
HOST_KEY = "host-key"
TIMEOUT_S = 20.0
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0


class JoinRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    token: str
    host_key: str
    """Made by the host; binds the token to it."""


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    instance_id: str
    pool: str
    environment: dict[str, str]
    """Secrets, for the worker's environment."""
    settings: dict[str, Any]
    """The platform's, without secrets."""


async def join(url: str, token: str, folder: Path, patience_s: float) -> Joined:
    """Exchange the token, trying again for ``patience_s`` while the platform cannot be reached, and write credentials
    (readable by root alone) and settings into ``folder``. Raises ``Unauthorized`` for a token that is no good."""
    key = _host_key(folder)
    transport = ApiTransport(url.rstrip("/"), token, TIMEOUT_S, "the platform")
    try:
        joined = await _exchanged(transport, JoinRequest(token=token, host_key=key), patience_s)
    finally:
        await transport.close()
    # YAML takes JSON.
    _write(folder / SETTINGS, msgspec.json.format(msgspec.json.encode(joined.settings), indent=1), 0o644)
    lines = [f"{name}={value}\n" for name, value in joined.environment.items()]
    _write(folder / CREDENTIALS, "".join(lines).encode(), 0o600)
    return joined


async def _exchanged(transport: ApiTransport, request: JoinRequest, patience_s: float) -> Joined:
    until_s = asyncio.get_running_loop().time() + patience_s
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return await _asked(transport, request)
        except (Unavailable, RateLimited) as error:
            if asyncio.get_running_loop().time() + pause_s > until_s:
                raise
            log.warning("cannot join yet: %s", error)
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)


async def _asked(transport: ApiTransport, request: JoinRequest) -> Joined:
    reply = await transport.send("POST", "/v1/hosts/join", msgspec.json.encode(request))
    if reply.status == 200:
        try:
            return msgspec.json.decode(reply.body, type=Joined)
        except msgspec.DecodeError as error:
            raise Unavailable(f"the platform's answer makes no sense: {error}") from error
    if reply.status == 429:
        raise RateLimited("the platform limits attempts to join")
    if reply.status == 401:
        raise Unauthorized("the join token is not known, was used, or has expired")
    if reply.status >= 500:
        raise Unavailable(f"the platform answered with status {reply.status}")
    raise SophiaError(f"the platform refused the host with status {reply.status}")


def _host_key(folder: Path) -> str:
    """Kept, so that a host that was restarted in the middle can go on."""
    path = folder / HOST_KEY
    if not path.exists():
        _write(path, secrets.token_urlsafe(32).encode(), 0o600)
    return path.read_text()


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    fresh.replace(path)
