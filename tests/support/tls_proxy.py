"""TLS in front of a Postgres that has none: answers the protocol's request for TLS, then passes bytes on."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)


class TlsProxy(NamedTuple):
    port: int
    certificate: Path
    """The authority to trust; for the host name ``localhost`` only."""


@contextlib.asynccontextmanager
async def tls_proxy(socket: Path, folder: Path, *, refuse: bool = False) -> AsyncIterator[TlsProxy]:
    """Listens on 127.0.0.1 and forwards to the unix socket, with a certificate made for this run; or says, as a server
    without TLS does, that it has none."""
    certificate, key = folder / "server.crt", folder / "server.key"
    await asyncio.to_thread(_make_certificate, certificate, key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: asyncio.StreamWriter | None = None
        try:
            if await reader.readexactly(8) != _SSL_REQUEST:
                return
            writer.write(b"N" if refuse else b"S")
            await writer.drain()
            if refuse:
                return
            await writer.start_tls(context)
            upstream_reader, upstream = await asyncio.open_unix_connection(str(socket))
            await asyncio.gather(_pass(reader, upstream), _pass(upstream_reader, writer))
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            for each in (writer, upstream):
                if each is not None:
                    each.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield TlsProxy(server.sockets[0].getsockname()[1], certificate)
    finally:
        server.close()
        await server.wait_closed()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()


def _make_certificate(certificate: Path, key: Path) -> None:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )
