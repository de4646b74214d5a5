"""Every model of the configuration behind one door."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry

from sophia.inference.base import (
    ChatAnswer,
    ChatDelta,
    DeploymentStatus,
    Embedder,
    EmbeddingAnswer,
    ModelCard,
    Reply,
)
from sophia.inference.catalog import IN_PROCESS, Catalog, priced
from sophia.inference.chat_call import chat_body, deltas, refused_parameter, without
from sophia.inference.client import CHAT_PATH, EMBEDDINGS_PATH, Client, limits_of
from sophia.inference.deployments import Deployment, ModelCalls
from sophia.inference.metrics import InferenceMetrics
from sophia.inference.registry import EndpointRegistry
from sophia.nouns.errors import InvalidInput, UpstreamError
from sophia.nouns.usage import Usage
from sophia.settings.loaded import ResolvedProvider
from sophia.settings.model import Settings


class ModelDirectory:
    """The ``Models`` contract over the providers in use.

    ``embedders`` are engines in this process by the model's name; they take precedence over a provider, but for
    ``forward``. They belong to the directory, which closes them. ``endpoints`` is where pools announce their servers;
    without it nothing of theirs is in use.
    """

    def __init__(
        self,
        settings: Settings,
        providers: Mapping[str, ResolvedProvider],
        embedders: Mapping[str, Embedder] | None = None,
        registry: CollectorRegistry | None = None,
        endpoints: EndpointRegistry | None = None,
    ) -> None:
        if endpoints is None:
            providers = {name: p for name, p in providers.items() if p.settings.kind != "pool"}
        self._endpoints = endpoints
        self._settings = settings
        self._embedders = dict(embedders or {})
        self._catalog = Catalog(settings, providers, in_process=self._embedders)
        self._providers = providers
        self._metrics = InferenceMetrics(registry if registry is not None else CollectorRegistry())
        self._calls: dict[str, ModelCalls] = {}
        self._clients: dict[str, Client] = {}
        """Opened with the first call, HTTP client and all: a worker at rest is small."""
        self._refused: dict[str, set[str]] = {}

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
        from sophia.inference.answers import events

        calls = self._calls_of(card)
        body = chat_body(card, messages, params)
        refused = self._refused.setdefault(card.id, set())
        while True:
            request = without(body, refused)
            answer = await calls.send(CHAT_PATH, request)
            try:
                async with (
                    aclosing(events(answer)) as chunks,
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
            finally:
                await answer.close()

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
        from sophia.inference.answers import whole
        from sophia.inference.embedding_call import embedding_answer, embedding_body

        reply = await self._calls_of(card).send(EMBEDDINGS_PATH, embedding_body(card, texts))
        return embedding_answer(card, len(texts), await whole(reply))

    async def forward(self, card: ModelCard, path: str, body: Mapping[str, Any]) -> Reply:
        """``path`` is OpenAI's below ``/v1``: ``/chat/completions``, ``/embeddings``."""
        return await self._calls_of(card).send(path, body)

    def deployments(self, card: ModelCard) -> Sequence[DeploymentStatus]:
        return self._calls_of(card).statuses() if card.provider != IN_PROCESS else ()

    async def close(self) -> None:
        async with asyncio.TaskGroup() as group:
            for client in self._clients.values():
                group.create_task(client.close())
            for embedder in self._embedders.values():
                group.create_task(embedder.close())

    def _calls_of(self, card: ModelCard) -> ModelCalls:
        calls = self._calls.get(card.id)
        if calls is None:
            calls = self._calls[card.id] = self._open(card)
        return calls

    def _open(self, card: ModelCard) -> ModelCalls:
        model = self._settings.models[card.id]
        deployments = []
        for name, deployment in model.deployments().items():
            provider = self._providers.get(deployment.provider or name)
            if provider is not None:
                deployments.append(
                    Deployment(
                        card.id,
                        name,
                        deployment,
                        limits_of(provider.settings, deployment),
                        provider.settings.breaker,
                        partial(self._client, provider),
                        self._metrics,
                    )
                )
        if not deployments:
            raise InvalidInput(f"{card.id!r} is served in this process only", field="model")
        return ModelCalls(card.id, deployments, model.fallback)

    def _client(self, provider: ResolvedProvider) -> Client:
        client = self._clients.get(provider.name)
        if client is None:
            client = self._clients[provider.name] = self._client_of(provider)
        return client

    def _client_of(self, provider: ResolvedProvider) -> Client:
        # Imported with the first call: aiohttp takes memory that a worker at rest need not have.
        if provider.settings.kind == "anthropic":
            from sophia.inference.anthropic import AnthropicUpstream

            return AnthropicUpstream(provider)
        if provider.settings.kind == "pool" and self._endpoints is not None:
            from sophia.inference.replicas import Replicas

            pool = self._settings.pools[provider.settings.pool or ""]
            asker = f"{socket.gethostname()}-{os.getpid()}"
            return Replicas(provider, self._endpoints, asker, pool.scaling.when_cold.wait_s)
        from sophia.inference.upstream import Upstream

        return Upstream(provider)
