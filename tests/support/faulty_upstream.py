"""A provider on the wire, byte for byte as a test says, and a count of the connections it still has."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

Then = Literal["close", "reset", "stall"]

JSON_ANSWER = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "well"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


def head(status: int = 200, kind: str = "application/json", **more: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in more.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def answer(status: int = 200, body: Any = JSON_ANSWER, **more: str) -> bytes:
    content = json.dumps(body).encode()
    return head(status, Content_Length=str(len(content)), **more) + content


def event(text: str) -> bytes:
    chunk = {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}],
    }
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


STREAM = head(200, "text/event-stream")
DONE = b"data: [DONE]\n\n"


class FaultyUpstream:
    """Sends ``sent`` to every request, ``slowly`` byte by byte, and then does what ``then`` says."""

    def __init__(self) -> None:
        self.url = ""
        self.sent = b""
        self.then: Then = "close"
        self.slowly = False
        self.requests = 0
        self.open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            headers = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in headers.lower().split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(int(length.partition(b":")[2]))
            self.requests += 1
            for piece in [self.sent[i : i + 1] for i in range(len(self.sent))] if self.slowly else [self.sent]:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.001 if self.slowly else 0)
            if self.then == "stall":
                # Until the other side has had enough.
                await reader.read()
            elif self.then == "reset":
                writer.transport.abort()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def faulty_upstream() -> AsyncIterator[FaultyUpstream]:
    faulty = FaultyUpstream()
    server = await asyncio.start_server(faulty.serve, "127.0.0.1", 0)
    faulty.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with server:
        yield faulty
