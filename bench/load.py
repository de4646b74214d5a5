"""A client that costs little: one prepared request over kept connections. ``python -m bench.load '{…}'``; prints JSON.

Closed loop: ``concurrency`` connections ask again at once, for ``seconds``. With ``rate``: requests begin evenly spaced,
however long the answers take, and their times count from when they were due. ``hold``: streams are opened and left open,
a line is printed once each has begun, and the next line of standard input ends it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from typing import Any

from bench.child import new_loop

WARM_UP = 3
"""Requests of each connection that do not count."""
_END = b"\r\n\r\n"


class Refused(Exception):
    """An answer other than 2xx, or none."""


class Connection(asyncio.Protocol):
    """One request at a time; calls ``done`` with the time its first and its last bytes of the body came, and its events."""

    def __init__(self, done: Any) -> None:
        self._done = done
        self._head = True
        self._buffer = b""
        self._left = 0
        self._first_s = 0.0
        self._events = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        self._done(self, Refused(f"the connection was lost: {exc}"), 0.0, 0)

    def ask(self, request: bytes) -> None:
        self._head, self._buffer, self._events, self._first_s = True, b"", 0, 0.0
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._head:
            self._buffer += data
            end = self._buffer.find(_END)
            if end < 0:
                return
            head, data = self._buffer[:end].lower(), self._buffer[end + 4 :]
            if not head.startswith(b"http/1.1 2"):
                self._done(self, Refused(f"{head[:60]!r} {data[:200]!r}"), 0.0, 0)
                return
            at = head.find(b"content-length:")
            self._left = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else -1
            self._head, self._buffer = False, b""
        if not data:
            return
        if not self._first_s:
            self._first_s = time.perf_counter()
        if self._left >= 0:
            self._left -= len(data)
            if self._left <= 0:
                self._done(self, None, self._first_s, 0)
            return
        self._events += data.count(b"data: ")
        self._buffer = (self._buffer + data)[-7:]
        if self._buffer.endswith(b"\r\n0\r\n\r\n"):
            self._done(self, None, self._first_s, self._events)


class Load:
    def __init__(self, request: bytes, seconds: float, rate: float, hold: bool) -> None:
        self._request = request
        self._seconds = seconds
        self._rate = rate
        self._hold = hold
        self._started: dict[Connection, float] = {}
        self._times: list[float] = []
        self._first: list[float] = []
        self._events = 0
        self._free: deque[Connection] = deque()
        self._due: deque[float] = deque()
        self._until_s = 0.0
        self._warm: dict[Connection, int] = {}
        self.failed: Refused | None = None
        self._over = asyncio.Event()
        self._warmed = asyncio.Event()

    async def run(self, port: int, concurrency: int) -> dict[str, float]:
        loop = asyncio.get_running_loop()
        connections = [
            (await loop.create_connection(lambda: Connection(self._done), "127.0.0.1", port))[1]
            for _ in range(concurrency)
        ]
        if self._hold:
            return await self._held(connections)
        for connection in connections:
            self._warm[connection] = WARM_UP
            connection.ask(self._request)
        async with asyncio.timeout(60):
            await self._warmed.wait()
        if self.failed is not None:
            raise self.failed
        self._free.extend(connections)
        began_s = time.perf_counter()
        self._until_s = began_s + self._seconds
        if self._rate:
            await self._paced(began_s)
        else:
            while self._free:
                self._begin(self._free.popleft(), time.perf_counter())
        async with asyncio.timeout(self._seconds + 60):
            await self._over.wait()
        if self.failed is not None:
            raise self.failed
        return self._figures(time.perf_counter() - began_s)

    async def _paced(self, began_s: float) -> None:
        count, total = 0, int(self._rate * self._seconds)
        while count < total and self.failed is None:
            now_s = time.perf_counter()
            while count < total and began_s + count / self._rate <= now_s:
                self._due.append(began_s + count / self._rate)
                count += 1
            while self._due and self._free:
                self._begin(self._free.popleft(), self._due.popleft())
            # The timer is good to a millisecond; the loop spins below that, on a core that nothing else needs as much.
            await asyncio.sleep(0)
        self._until_s = 0.0
        if not self._started:
            self._over.set()

    async def _held(self, connections: list[Connection]) -> dict[str, float]:
        for connection in connections:
            connection.ask(self._request)
        async with asyncio.timeout(120):
            while not all(connection._events for connection in connections):
                if self.failed is not None:
                    raise self.failed
                await asyncio.sleep(0.05)
        print("held", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        return {"held": len(connections)}

    def _begin(self, connection: Connection, since_s: float) -> None:
        self._started[connection] = since_s
        connection.ask(self._request)

    def _done(self, connection: Connection, error: Refused | None, first_s: float, events: int) -> None:
        if error is not None:
            if self.failed is None and not self._over.is_set():
                self.failed = error
                self._over.set()
                self._warmed.set()
            return
        if connection in self._warm:
            self._warm[connection] -= 1
            if self._warm[connection]:
                connection.ask(self._request)
            else:
                del self._warm[connection]
            if not self._warm:
                self._warmed.set()
            return
        now_s = time.perf_counter()
        since_s = self._started.pop(connection)
        self._times.append(now_s - since_s)
        self._first.append(first_s - since_s)
        self._events += events
        if self._rate:
            if self._due:
                self._begin(connection, self._due.popleft())
            else:
                self._free.append(connection)
        elif now_s < self._until_s:
            self._begin(connection, now_s)
        if not self._started and now_s >= self._until_s:
            self._over.set()

    def _figures(self, seconds: float) -> dict[str, float]:
        self._times.sort()
        self._first.sort()
        n = len(self._times)
        return {
            "n": n,
            "per_s": n / seconds,
            "p50_ms": self._times[n // 2] * 1000,
            "p99_ms": self._times[int(n * 0.99)] * 1000,
            "first_p50_ms": self._first[n // 2] * 1000,
            "events_per_s": self._events / seconds,
        }


async def load(
    port: int,
    path: str,
    body: dict[str, Any],
    headers: dict[str, str],
    concurrency: int,
    seconds: float = 0,
    rate: float = 0,
    hold: bool = False,
) -> dict[str, float]:
    text = json.dumps(body).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        f"host: 127.0.0.1:{port}",
        "content-type: application/json",
        f"content-length: {len(text)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    request = "\r\n".join(lines).encode() + _END + text
    return await Load(request, seconds, rate, hold).run(port, concurrency)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=new_loop) as runner:
        print(json.dumps(runner.run(load(**json.loads(sys.argv[1])))), flush=True)
