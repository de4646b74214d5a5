"""``openai_batch``: some lines of a batch's input, each asked of its model, in order.

What ends an attempt in the middle (a worker that dies, a provider that is gone) makes the next attempt begin the chunk
anew: its lines come into the output once, but some are asked twice.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import msgspec

from sophia.decisions.batch_lines import KINDS, numbered, read_line
from sophia.nouns import batch_output
from sophia.nouns.batches import BatchChunk, BatchTokens, ChunkResult, RequestLine
from sophia.nouns.errors import (
    BudgetExceeded,
    InvalidInput,
    InvalidResult,
    RateLimited,
    SophiaError,
    Unavailable,
    UpstreamError,
)
from sophia.nouns.objects import ObjectRef
from sophia.worker.context import ForwardAnswer, ForwardRequest, TaskContext
from sophia.worker.forwarding import tokens_in

TRIES = 4
"""Of one line, before the whole chunk waits for its next attempt."""
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
STORE_BYTES = 4 * 1024 * 1024
"""Output is stored in pieces of about this size."""
_LATER = frozenset({408, 429, 502, 503, 504})


class _Done(msgspec.Struct, frozen=True):
    line: bytes
    tokens: BatchTokens
    good: bool


class _Pieces:
    """Lines on their way to the object store."""

    def __init__(self, keep: Callable[[bytes], Awaitable[ObjectRef]]) -> None:
        self._keep = keep
        self._waiting = bytearray()
        self.stored: list[ObjectRef] = []

    async def add(self, line: bytes) -> None:
        self._waiting += line
        if len(self._waiting) >= STORE_BYTES:
            await self.flush()

    async def flush(self) -> None:
        if self._waiting:
            body = bytes(self._waiting)
            self._waiting.clear()
            self.stored.append(await self._keep(body))


async def run(context: TaskContext, payload: BatchChunk) -> ChunkResult:
    """Raises ``Unavailable`` or ``RateLimited`` where a later attempt may do better; whatever is wrong with a single
    line stands in its place among the errors."""
    part = await context.fetch(payload.part.object)
    lines = [read_line(raw, number)[0] for number, raw in numbered(part, payload.part.first_line)]
    good, bad = _Pieces(context.keep), _Pieces(context.keep)
    tokens, completed = BatchTokens(), 0
    gate = asyncio.Semaphore(context.settings.batches.concurrency)

    async def one(line: RequestLine) -> _Done:
        async with gate:
            return await _carried_out(context, payload, line)

    try:
        async with asyncio.TaskGroup() as group:
            work = [group.create_task(one(line)) for line in lines if line is not None]
            for number, each in enumerate(work, 1):
                done = await each
                await (good if done.good else bad).add(done.line)
                completed += done.good
                tokens += done.tokens
                await context.progress(number, len(work), f"{number} of {len(work)} requests")
    except BaseExceptionGroup as errors:
        # Whoever settles the attempt knows single errors.
        raise errors.exceptions[0] from errors
    await good.flush()
    await bad.flush()
    return ChunkResult(
        completed=completed,
        failed=len(work) - completed,
        output=tuple(good.stored),
        errors=tuple(bad.stored),
        tokens=tokens,
    )


async def _carried_out(context: TaskContext, chunk: BatchChunk, line: RequestLine) -> _Done:
    request = ForwardRequest(
        path=chunk.endpoint.removeprefix("/v1"),
        kind=KINDS[chunk.endpoint],
        body=line.body,
        price_factor=chunk.price_factor,
    )
    try:
        answer = await _answer(context, request)
    except (BudgetExceeded, InvalidInput, InvalidResult, UpstreamError) as error:
        failed = batch_output.unanswered(chunk.batch_id, line.custom_id, error.code, error.message)
        return _Done(failed, BatchTokens(), good=False)
    request_id = answer.headers.get("x-request-id") or batch_output.line_id(chunk.batch_id, line.custom_id)
    written = batch_output.answered(chunk.batch_id, line.custom_id, answer.status, request_id, _one_line(answer.body))
    return _Done(written, tokens_in(answer.body) or BatchTokens(), good=answer.status == 200)


async def _answer(context: TaskContext, request: ForwardRequest) -> ForwardAnswer:
    """The provider's answer; what may pass is waited for a little. Raises ``Unavailable`` or ``RateLimited`` then."""
    for attempt in range(1, TRIES + 1):
        trouble: SophiaError
        try:
            answer = await context.forward(request)
            if answer.status not in _LATER:
                return answer
            trouble = _trouble(answer)
        except (Unavailable, RateLimited) as error:
            trouble = error
        pause_s = FIRST_PAUSE_S * 2.0 ** (attempt - 1) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        pause_s = max(pause_s, trouble.retry_after_s or 0.0)
        if attempt == TRIES or pause_s > LONGEST_PAUSE_S:
            raise trouble
        await asyncio.sleep(pause_s)
    raise AssertionError("unreachable: the last try returns or raises")


def _trouble(answer: ForwardAnswer) -> SophiaError:
    message = f"the provider answered {answer.status}: {answer.body[:200].decode('utf-8', 'replace')}"
    header = answer.headers.get("retry-after", "")
    retry_after_s = float(header) if header.isdecimal() else None
    kind = RateLimited if answer.status == 429 else Unavailable
    return kind(message, retry_after_s=retry_after_s)


def _one_line(body: bytes) -> bytes:
    """JSON without line breaks; what is no JSON, as the message of an error."""
    try:
        return msgspec.json.format(body, indent=-1)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = body.decode("utf-8", "replace")[:2_000]
        return msgspec.json.encode({"error": {"message": text, "type": "server_error", "param": None, "code": None}})
