"""A scripted model server that answers at once: ``python -m bench.upstream PORT``. Fast, so that what is left is the gateway."""

from __future__ import annotations

import asyncio
import json
import sys

from bench.child import new_loop

PIECES = 100
_HEAD = {"id": "chatcmpl-1", "created": 1700000000, "model": "gpt-5"}
_ANSWER = json.dumps(
    {
        **_HEAD,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6},
    }
).encode()


def _event(choice: dict[str, object], **more: object) -> bytes:
    chunk = {**_HEAD, "object": "chat.completion.chunk", "choices": [{"index": 0, **choice}], **more}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


_EVENTS = [
    *(_event({"delta": {"content": f"w{n} "}, "finish_reason": None}) for n in range(PIECES)),
    _event(
        {"delta": {}, "finish_reason": "stop"},
        usage={"prompt_tokens": 5, "completion_tokens": PIECES, "total_tokens": PIECES + 5},
    ),
    b"data: [DONE]\n\n",
]
PLAIN = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(_ANSWER) + _ANSWER
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
PARTS = [b"%x\r\n%s\r\n" % (len(event), event) for event in _EVENTS]
HOLD = b"never ends"
"""In a prompt: the stream begins and stays open."""


class Upstream(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            body, self._buffer = self._buffer[end + 4 : end + 4 + length], self._buffer[end + 4 + length :]
            if b'"stream":true' not in body and b'"stream": true' not in body:
                self._transport.write(PLAIN)
            elif HOLD in body:
                self._transport.write(STREAM_HEAD + PARTS[0])
            else:
                self._piece(STREAM_HEAD, 0)

    def _piece(self, head: bytes, number: int) -> None:
        """Each event in a turn of its own, as models write them."""
        if self._transport.is_closing():
            return
        if number == len(PARTS):
            self._transport.write(b"0\r\n\r\n")
            return
        self._transport.write(head + PARTS[number])
        asyncio.get_running_loop().call_soon(self._piece, b"", number + 1)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_serve(int(sys.argv[1])))
