"""Shapes of the OpenAI-compatible paths: the parts that Sophia reads or promises. Everything else passes through."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

ModelName = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    include_usage: bool = False


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's chat completion request. Parameters that are not listed here reach the model's server unchanged."""

    model: ModelName
    """A known model, or a tier: ``fast``, ``balanced``, ``quality``."""
    messages: Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1)]
    stream: bool | None = None
    """Send the answer as server-sent events while it is written."""
    stream_options: StreamOptions | None = None


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's embedding request. Parameters that are not listed here reach the model's server unchanged."""

    model: ModelName
    """A known embedding model, or a tier: ``fast``, ``balanced``, ``quality``."""
    input: str | list[Any]
    """A text, texts, a list of token numbers, or lists of them."""
    encoding_format: Literal["float", "base64"] | None = None


class TokenUsage(msgspec.Struct, frozen=True, kw_only=True):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class ChatChoice(msgspec.Struct, frozen=True, kw_only=True):
    index: int
    message: dict[str, Any]
    finish_reason: str | None


class ChatCompletion(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's chat completion; a stream has ``chat.completion.chunk`` events instead, then ``[DONE]``."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: TokenUsage


class EmbeddingData(msgspec.Struct, frozen=True, kw_only=True):
    object: Literal["embedding"]
    index: int
    embedding: str | list[float]
    """Numbers, or with ``encoding_format: base64`` little-endian float32 in base64."""


class EmbeddingResponse(msgspec.Struct, frozen=True, kw_only=True):
    object: Literal["list"]
    model: str
    data: list[EmbeddingData]
    usage: TokenUsage


class DeploymentInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A model at one provider, as this gateway sees it."""

    name: str
    """As the header ``x-sophia-provider`` gives it."""
    provider: str
    state: str
    """``closed``: calls pass; ``open``: it failed and is left alone; ``half_open``: one call is to decide."""
    resting: bool
    """It asked for a pause: it is asked only when nobody else can be."""
    order: int
    weight: float
    in_flight: int


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's model object with what Sophia knows besides."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    """The provider that serves it."""
    kind: str
    """``chat`` or ``embedding``."""
    tiers: list[str]
    context_tokens: int | None
    dimensions: int | None
    deployments: list[DeploymentInfo]
    """Who serves it, in the order in which they are asked."""


class ModelInfoList(msgspec.Struct, frozen=True, kw_only=True):
    object: Literal["list"]
    data: list[ModelInfo]


class OpenAIError(msgspec.Struct, frozen=True, kw_only=True):
    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIProblem(msgspec.Struct, frozen=True, kw_only=True):
    """An error under the OpenAI paths."""

    error: OpenAIError
