"""A client that costs little: one prepared request over kept connections. ``python -m bench.load '{…}'``; prints JSON."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from bench.child import new_loop


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, request: bytes) -> None:
        """One request and its whole answer. Raises ``ValueError`` for anything but 2xx."""
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        at = head.find(b"content-length:")
        if at >= 0:
            body = await self._reader.readexactly(int(head[at + 15 :].split(b"\r\n", 1)[0]))
        else:
            body = b""
            while not body.endswith(b"0\r\n\r\n"):
                body += await self._reader.read(65536)
        if not head.startswith(b"http/1.1 2"):
            raise ValueError(f"{head[:60]!r} {body[:200]!r}")

    def close(self) -> None:
        self._writer.close()


async def load(port: int, path: str, body: dict[str, Any], n: int, concurrency: int, key: str) -> dict[str, float]:
    text = json.dumps(body).encode()
    request = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {key}\r\ncontent-length: {len(text)}\r\n\r\n"
    ).encode() + text
    connections = [Connection(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(concurrency)]
    times: list[float] = []
    left = n

    async def go(connection: Connection, keep: bool) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            started = time.perf_counter()
            await connection.ask(request)
            if keep:
                times.append(time.perf_counter() - started)

    left = concurrency * 3
    await asyncio.gather(*(go(connection, keep=False) for connection in connections))
    left = n
    started = time.perf_counter()
    await asyncio.gather(*(go(connection, keep=True) for connection in connections))
    seconds = time.perf_counter() - started
    for connection in connections:
        connection.close()
    times.sort()
    return {
        "per_s": len(times) / seconds,
        "p50_ms": times[len(times) // 2] * 1000,
        "p99_ms": times[int(len(times) * 0.99)] * 1000,
    }


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=new_loop) as runner:
        print(json.dumps(runner.run(load(**json.loads(sys.argv[1])))))
