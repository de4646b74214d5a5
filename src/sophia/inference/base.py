"""The inference contracts: chat and embeddings by model name, whoever serves them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from sophia.nouns.usage import Usage

if TYPE_CHECKING:
    import numpy as np


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """A model as users see it."""

    id: str
    kind: str
    """``chat`` or ``embedding``."""
    provider: str
    upstream_model: str
    """The name its provider knows it by."""
    tiers: tuple[str, ...] = ()
    context_tokens: int | None = None
    outline_first: bool = False
    """Whether lists are better asked for in words than under a JSON schema."""
    dimensions: int | None = None
    usd_per_1k_input_tokens: float = 0.0
    usd_per_1k_output_tokens: float = 0.0


class DeploymentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A model at one provider, as this process sees it."""

    name: str
    """As ``x-sophia-provider`` gives it."""
    provider: str
    upstream_model: str
    order: int
    weight: float
    state: str
    """``closed``: calls pass; ``open``: it failed and is left alone; ``half_open``: one call is to decide."""
    resting: bool
    """It asked for a pause: it is asked only when nobody else can be."""
    in_flight: int


class ChatDelta(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a streamed answer; the last one has ``finish_reason`` and ``usage``."""

    text: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None


class ChatAnswer(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    finish_reason: str
    model: str
    usage: Usage


class EmbeddingAnswer(msgspec.Struct, kw_only=True):
    """``vectors``: float32, shape (texts, dimensions), in the order of the texts."""

    vectors: np.ndarray[Any, np.dtype[np.float32]]
    model: str
    usage: Usage
    truncated: int = 0


class Reply(Protocol):
    """An upstream's HTTP answer, body not yet read. ``close`` aborts what still runs upstream."""

    status: int

    @property
    def headers(self) -> Mapping[str, str]: ...

    async def read(self) -> bytes: ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Body bytes as they arrive."""

    async def close(self) -> None: ...


class Embedder(Protocol):
    """An embedding engine for one model, in this process or behind HTTP."""

    model: str
    dimensions: int

    async def embed(self, texts: Sequence[str]) -> EmbeddingAnswer: ...

    async def close(self) -> None: ...


class Models(Protocol):
    """Every model of the configuration behind one door. Names and tiers are resolved to a provider.

    Raises ``InvalidInput`` (field ``model``, nearest known names) for unknown models, ``Unavailable`` when a provider
    cannot be reached or answers 5xx, ``RateLimited`` on 429 (with its Retry-After), ``UpstreamError`` on other 4xx.
    """

    def cards(self) -> Sequence[ModelCard]: ...

    def resolve(self, model: str | None, *, kind: str, tier: str = "fast") -> ModelCard:
        """The named model, or the first one of its kind that the tier lists."""

    async def chat(self, card: ModelCard, messages: Sequence[Mapping[str, Any]], **params: Any) -> ChatAnswer: ...

    def stream_chat(
        self, card: ModelCard, messages: Sequence[Mapping[str, Any]], **params: Any
    ) -> AsyncIterator[ChatDelta]:
        """Closing the iterator aborts the upstream's generation."""

    async def embed(self, card: ModelCard, texts: Sequence[str]) -> EmbeddingAnswer: ...

    async def forward(self, card: ModelCard, path: str, body: Mapping[str, Any]) -> Reply:
        """Send an OpenAI-shaped request on unchanged but for the model's name; error statuses are passed back, not raised.

        The reply is there once its first byte (of a stream) or its last one is: until then other deployments stand in.
        Its headers ``x-sophia-provider`` and ``x-sophia-attempts`` say whose it is, and after how many attempts.
        """

    def deployments(self, card: ModelCard) -> Sequence[DeploymentStatus]:
        """Who serves a model, in the configuration's order; none for one that only this process serves."""

    async def close(self) -> None: ...
