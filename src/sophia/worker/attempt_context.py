"""One attempt, as its handler sees it: metered model calls within the budget, and a live view of the work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast

from sophia.decisions.batch_lines import input_tokens, wanted_tokens
from sophia.inference.base import ChatAnswer, ChatDelta, EmbeddingAnswer, ModelCard, Models
from sophia.nouns.clock import Clock
from sophia.nouns.errors import InvalidResult, SophiaError, Unavailable, UpstreamError
from sophia.nouns.event import EventKind
from sophia.nouns.objects import ObjectRef
from sophia.nouns.task import Task, Tier
from sophia.nouns.usage import Usage
from sophia.objects.packing import INLINE, Packing
from sophia.settings.inference import HandlerDefaults
from sophia.settings.model import Settings
from sophia.worker.context import ForwardAnswer, ForwardRequest
from sophia.worker.defaults import answer_tokens
from sophia.worker.forwarding import discounted, usage_in
from sophia.worker.json_schemas import without_string_lengths
from sophia.worker.metering import Call, Meter, estimated_prompt_tokens, estimated_tokens
from sophia.worker.output_stream import OutputStream

_TIERS = frozenset(tier.value for tier in Tier)

Emit = Callable[[str, dict[str, Any]], Awaitable[None]]
"""Takes an event's kind and data."""


class AttemptContext:
    """Implements ``worker.context.TaskContext`` over the configured models.

    ``spent_before`` is the usage of the task's earlier attempts: it counts against the budget. ``check_lease`` raises
    ``LeaseLost`` when the attempt may no longer be this worker's, so that nothing more is spent on it.
    """

    def __init__(
        self,
        task: Task,
        attempt: int,
        settings: Settings,
        models: Models,
        emit: Emit,
        clock: Clock,
        *,
        spent_before: Usage = Usage(),  # noqa: B008  (frozen)
        check_lease: Callable[[], None] = lambda: None,
        packing: Packing = INLINE,
    ) -> None:
        self.task = task
        self.attempt = attempt
        self.settings = settings
        self._models = models
        self._emit = emit
        self._check_lease = check_lease
        self._packing = packing
        self._meter = Meter(task.budget, clock, spent_before)
        self._offset = 0
        self._showing = asyncio.Lock()

    @property
    def usage(self) -> Usage:
        """Spent by this attempt until now, running calls included."""
        return self._meter.usage

    async def progress(self, done: int, total: int, note: str = "") -> None:
        await self._emit(EventKind.TASK_PROGRESS, {"done": done, "total": total, "note": note, "attempt": self.attempt})

    def card(self, model: str | None, kind: str) -> ModelCard:
        """The named model; else the task type's default, where a provider in use serves it; else the tier's."""
        return self._models.resolve(model or self._default_model(kind), kind=kind, tier=self.task.tier)

    async def chat(
        self,
        messages: Sequence[dict[str, Any]],
        *,
        model: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        json_schema: dict[str, Any] | None = None,
        variety: float | None = None,
        show: bool = True,
    ) -> ChatAnswer:
        self._check_lease()
        card = self.card(model, "chat")
        params = {
            "max_tokens": max_tokens,
            "temperature": self._defaults.temperature if temperature is None else temperature,
            "json_schema": json_schema,
            "frequency_penalty": variety,
            "presence_penalty": variety,
        }
        try:
            return await self._chat(card, messages, params, show=show)
        except UpstreamError as error:
            portable = without_string_lengths(json_schema)
            if portable == json_schema or not _refuses_schema(error):
                raise
        return await self._chat(card, messages, {**params, "json_schema": portable}, show=show)

    async def embed(self, texts: Sequence[str], *, model: str | None = None) -> EmbeddingAnswer:
        self._check_lease()
        limit = self.settings.embedding.batch_texts
        if len(texts) > limit:
            raise ValueError(f"{len(texts)} texts in one call, at most {limit} are allowed")
        card = self.card(model, "embedding")
        cut = self.settings.embedding.max_tokens
        call = self._meter.open_embedding(card, sum(min(estimated_tokens(text), cut) for text in texts))
        async with self._metered(call):
            answer = await self._models.embed(card, texts)
            call.finished(answer.usage)
        if len(answer.vectors) != len(texts):
            raise InvalidResult(f"{card.id} gave {len(answer.vectors)} vectors for {len(texts)} texts")
        return answer

    async def forward(self, request: ForwardRequest) -> ForwardAnswer:
        self._check_lease()
        card = discounted(self._named_card(request.body.get("model"), request.kind), request.price_factor)
        call, body = self._open_forward(card, request)
        async with self._metered(call):
            reply = await self._models.forward(card, request.path, body)
            try:
                content = await reply.read()
            finally:
                await reply.close()
            if reply.status == 200:
                call.finished(usage_in(content, request.kind))
            else:
                call.refused()
        return ForwardAnswer(status=reply.status, headers=reply.headers, body=content)

    def _named_card(self, name: Any, kind: str) -> ModelCard:
        """A model, or the one of the tier that is named in its place."""
        if name in _TIERS and all(card.id != name for card in self._models.cards()):
            return self._models.resolve(None, kind=kind, tier=name)
        return self._models.resolve(name, kind=kind)

    def _open_forward(self, card: ModelCard, request: ForwardRequest) -> tuple[Call, dict[str, Any]]:
        """A reserved call, and the request as it may be sent: within a budget that caps it, its answer is capped too."""
        body, budget = request.body, self.task.budget
        if request.kind == "embedding":
            return self._meter.open_embedding(card, input_tokens(body)), body
        wanted, answers = wanted_tokens(body)
        most = wanted or self._defaults.max_tokens * answers
        call, allowed = self._meter.open_chat(card, input_tokens(body), most)
        capped = budget.max_usd is not None or budget.max_tokens is not None
        if capped and (wanted is None or allowed < wanted):
            name = "max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"
            body = {**body, name: max(1, allowed // answers)}
        return call, body

    async def fetch(self, ref: ObjectRef) -> bytes:
        return await self._packing.fetch(ref)

    async def keep(self, body: bytes) -> ObjectRef:
        return await self._packing.keep(body)

    async def _chat(
        self, card: ModelCard, messages: Sequence[dict[str, Any]], params: dict[str, Any], *, show: bool
    ) -> ChatAnswer:
        prompt_tokens = estimated_prompt_tokens(messages)
        wanted = answer_tokens(self.settings, self.task, card, prompt_tokens, params["max_tokens"])
        call, allowed = self._meter.open_chat(card, prompt_tokens, wanted)
        deltas = self._models.stream_chat(card, messages, **{**params, "max_tokens": allowed})
        async with self._metered(call):
            return await self._stream(card, call, deltas, show=show)

    @property
    def _defaults(self) -> HandlerDefaults:
        return self.settings.tasks[self.task.type]

    def _default_model(self, kind: str) -> str | None:
        name = self._defaults.model
        served = any(card.id == name and card.kind == kind for card in self._models.cards())
        return name if served else None

    @asynccontextmanager
    async def _metered(self, call: Call) -> AsyncIterator[None]:
        """Settle the call however it ends, and hold it to ``max_run_s`` and the other caps."""
        limit = asyncio.timeout(self._meter.run_left_s())
        try:
            async with limit:
                yield
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise self._meter.run_exceeded() from error
        except SophiaError:
            call.refused()
            raise
        finally:
            self._meter.close(call)
        self._meter.check()

    async def _stream(self, card: ModelCard, call: Call, deltas: AsyncIterator[ChatDelta], *, show: bool) -> ChatAnswer:
        if not show:
            return await self._collect(card, call, deltas, lambda text: None)
        async with self._showing:
            output = OutputStream(self._show, self._offset)
            try:
                async with output:
                    return await self._collect(card, call, deltas, output.add)
            finally:
                self._offset = output.offset

    async def _collect(
        self, card: ModelCard, call: Call, deltas: AsyncIterator[ChatDelta], add: Callable[[str], None]
    ) -> ChatAnswer:
        pieces: list[str] = []
        finish_reason: str | None = None
        usage: Usage | None = None
        # Closing is what stops the generation upstream when this attempt is cancelled.
        async with aclosing(cast("AsyncGenerator[ChatDelta, None]", deltas)) as open_deltas:
            async for delta in open_deltas:
                if delta.text:
                    call.received(delta.text)
                    pieces.append(delta.text)
                    add(delta.text)
                finish_reason = delta.finish_reason or finish_reason
                usage = delta.usage or usage
        if finish_reason is None:
            raise Unavailable(f"{card.id} broke off in the middle of its answer")
        call.finished(usage)
        return ChatAnswer(text="".join(pieces), finish_reason=finish_reason, model=card.id, usage=call.usage)

    async def _show(self, text: str, offset: int) -> None:
        await self._emit(EventKind.TASK_OUTPUT, {"text": text, "offset": offset, "attempt": self.attempt})


def _refuses_schema(error: UpstreamError) -> bool:
    return error.status == 400 and "response_format" in f"{error.field} {error.message}"
