"""A chat provider on the wire (OpenAI's streaming form) that says what a test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.test_utils import TestServer


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """``pieces`` are streamed one by one. After them, ``then_hang``: the stream stays open until its client goes;
    ``then_repeat``: so it does, and the pieces go on; ``then_break``: the connection is dropped."""

    pieces: Sequence[str] = ()
    finish_reason: str = "stop"
    usage: tuple[int, int] | None = (10, 5)
    """Prompt and completion tokens."""
    status: int = 200
    error: dict[str, Any] | None = None
    then_hang: bool = False
    then_repeat: bool = False
    then_break: bool = False


def says(text: str, **more: Any) -> Answer:
    return Answer(pieces=[text], **more)


class ScriptedChat:
    def __init__(self, answers: Sequence[Answer]) -> None:
        self.requests: list[dict[str, Any]] = []
        self.gone = asyncio.Event()
        """A client left a hanging stream."""
        self.url = ""
        self._answers = list(answers)

    def prompt(self, number: int) -> str:
        """All that request ``number`` said, counted from 0."""
        return "\n".join(message["content"] for message in self.requests[number]["messages"])

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(await request.json())
        answer = self._answers.pop(0)
        if answer.status != 200:
            return web.json_response({"error": answer.error or {"message": "refused"}}, status=answer.status)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await _send_pieces(response, answer)
        if answer.then_hang or answer.then_repeat:
            await self._hang(response, answer)
        if answer.then_break:
            assert request.transport is not None
            request.transport.abort()
            return response
        await _send(response, {"choices": [{"index": 0, "delta": {}, "finish_reason": answer.finish_reason}]})
        if answer.usage is not None:
            prompt, completion = answer.usage
            usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
            await _send(response, {"choices": [], "usage": usage})
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _hang(self, response: web.StreamResponse, answer: Answer) -> None:
        try:
            async with asyncio.timeout(30):
                while True:
                    await asyncio.sleep(0.02)
                    if answer.then_repeat:
                        await _send_pieces(response, answer)
        except (asyncio.CancelledError, ConnectionError):
            self.gone.set()
            raise


@asynccontextmanager
async def scripted_chat(*answers: Answer) -> AsyncIterator[ScriptedChat]:
    """Serves the answers in order; ``url`` ends in ``/v1``."""
    chat = ScriptedChat(answers)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat.answer)
    server = TestServer(app)
    await server.start_server()
    chat.url = str(server.make_url("/v1"))
    try:
        yield chat
    finally:
        await server.close()


async def _send_pieces(response: web.StreamResponse, answer: Answer) -> None:
    for piece in answer.pieces:
        await _send(response, {"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]})


async def _send(response: web.StreamResponse, chunk: dict[str, Any]) -> None:
    await response.write(b"data: " + msgspec.json.encode(chunk) + b"\n\n")
