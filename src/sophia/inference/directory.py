"""Every model of the configuration behind one door."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from sophia.inference.base import ChatAnswer, ChatDelta, Embedder, EmbeddingAnswer, ModelCard, Reply
from sophia.inference.catalog import Catalog, priced
from sophia.inference.chat_call import chat_body, deltas, refused_parameter, without
from sophia.nouns.errors import InvalidInput, UpstreamError
from sophia.nouns.usage import Usage
from sophia.settings.loaded import ResolvedProvider
from sophia.settings.model import Settings

if TYPE_CHECKING:
    from sophia.inference.upstream import Upstream


class ModelDirectory:
    """The ``Models`` contract over the providers in use.

    ``embedders`` are engines in this process by the model's name; they take precedence over a provider, but for
    ``forward``. They belong to the directory, which closes them.
    """

    def __init__(
        self,
        settings: Settings,
        providers: Mapping[str, ResolvedProvider],
        embedders: Mapping[str, Embedder] | None = None,
    ) -> None:
        self._embedders = dict(embedders or {})
        self._catalog = Catalog(settings, providers, in_process=self._embedders)
        self._providers = providers
        self._upstreams: dict[str, Upstream] = {}
        """Opened with the first call, HTTP client and all: a worker at rest is small."""
        self._refused: dict[tuple[str, str], set[str]] = {}

    def cards(self) -> Sequence[ModelCard]:
        return self._catalog.cards()

    def resolve(self, model: str | None, *, kind: str, tier: str = "fast") -> ModelCard:
        return self._catalog.resolve(model, kind=kind, tier=tier)

    async def chat(self, card: ModelCard, messages: Sequence[Mapping[str, Any]], **params: Any) -> ChatAnswer:
        """One answer. It is streamed from the provider all the same: closing a stream stops every provider's
        generation, and its silence is noticed long before an answer would be due."""
        text: list[str] = []
        finish_reason = "stop"
        usage = Usage()
        async with aclosing(self.stream_chat(card, messages, **params)) as stream:
            async for delta in stream:
                text.append(delta.text)
                finish_reason = delta.finish_reason or finish_reason
                usage = delta.usage or usage
        return ChatAnswer(text="".join(text), finish_reason=finish_reason, model=card.id, usage=usage)

    async def stream_chat(
        self, card: ModelCard, messages: Sequence[Mapping[str, Any]], **params: Any
    ) -> AsyncGenerator[ChatDelta]:
        """Parameters are OpenAI's (``max_tokens``, ``temperature``, ``seed``, …) and ``json_schema``, to which the
        text is then constrained. One that a provider refuses and that can be spared is left out from then on."""
        from sophia.inference.upstream import CHAT_PATH

        upstream = self._upstream(card)
        body = chat_body(card, messages, params)
        refused = self._refused.setdefault((card.provider, card.upstream_model), set())
        while True:
            request = without(body, refused)
            try:
                async with (
                    aclosing(upstream.stream(CHAT_PATH, request)) as chunks,
                    aclosing(deltas(card, messages, chunks)) as pieces,
                ):
                    async for piece in pieces:
                        yield piece
                return
            except UpstreamError as error:
                parameter = refused_parameter(request, error)
                if parameter is None:
                    raise
                refused.add(parameter)

    async def embed(self, card: ModelCard, texts: Sequence[str]) -> EmbeddingAnswer:
        if not texts:
            raise InvalidInput("there is no text to embed", field="texts")
        embedder = self._embedders.get(card.id)
        if embedder is not None:
            answer = await embedder.embed(texts)
            return EmbeddingAnswer(
                vectors=answer.vectors,
                model=card.id,
                usage=priced(card, answer.usage),
                truncated=answer.truncated,
            )
        from sophia.inference.embedding_call import embedding_answer, embedding_body
        from sophia.inference.upstream import EMBEDDINGS_PATH

        document = await self._upstream(card).call(EMBEDDINGS_PATH, embedding_body(card, texts))
        return embedding_answer(card, len(texts), document)

    async def forward(self, card: ModelCard, path: str, body: Mapping[str, Any]) -> Reply:
        """``path`` is OpenAI's below ``/v1``: ``/chat/completions``, ``/embeddings``."""
        return await self._upstream(card).forward(path, {**body, "model": card.upstream_model})

    async def close(self) -> None:
        async with asyncio.TaskGroup() as group:
            for upstream in self._upstreams.values():
                group.create_task(upstream.close())
            for embedder in self._embedders.values():
                group.create_task(embedder.close())

    def _upstream(self, card: ModelCard) -> Upstream:
        upstream = self._upstreams.get(card.provider)
        if upstream is None:
            from sophia.inference.upstream import Upstream

            provider = self._providers.get(card.provider)
            if provider is None:
                raise InvalidInput(f"{card.id!r} is served in this process only", field="model")
            upstream = self._upstreams[card.provider] = Upstream(provider)
        return upstream
