"""What each task type takes and gives. Payloads are checked against these at submission."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from sophia.nouns.batches import BatchChunk, ChunkResult

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200_000)]
Url = Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s]+$", max_length=2_000)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
MaxTokens = Annotated[int, msgspec.Meta(ge=1, le=128_000)]
Temperature = Annotated[float, msgspec.Meta(ge=0, le=2)]


class LongPlanning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A goal that becomes an ordered plan."""

    goal: Text
    context: Annotated[str, msgspec.Meta(max_length=200_000)] = ""
    max_steps: Annotated[int, msgspec.Meta(ge=1, le=50)] = 8
    model: Name | None = None
    max_tokens: MaxTokens | None = None
    temperature: Temperature | None = None


class PlanStep(msgspec.Struct, frozen=True, kw_only=True):
    id: Annotated[int, msgspec.Meta(ge=1)]
    title: Annotated[str, msgspec.Meta(min_length=1)]
    description: str
    depends_on: list[int]
    """Ids of earlier steps."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    goal: str
    steps: list[PlanStep]
    """In an order in which every step comes after those it depends on."""
    model: str


class CodeGeneration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    prompt: Text
    language: Name = "python"
    context: Annotated[str, msgspec.Meta(max_length=200_000)] = ""
    model: Name | None = None
    max_tokens: MaxTokens | None = None
    temperature: Temperature | None = None


class GeneratedCode(msgspec.Struct, frozen=True, kw_only=True):
    language: str
    code: str
    explanation: str
    syntax_checked: bool
    """Whether the code was parsed (Python only); code that does not parse is never returned as parsed."""
    syntax_error: str | None
    model: str


class BatchEmbedding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    texts: Annotated[list[Annotated[str, msgspec.Meta(min_length=1)]], msgspec.Meta(min_length=1)]
    model: Name | None = None
    encoding: Annotated[str, msgspec.Meta(pattern="^(float|base64)$")] = "float"
    """``float``: lists of numbers; ``base64``: little-endian float32, about a quarter of the size."""


class Embeddings(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    dimensions: int
    count: int
    encoding: str
    vectors: list[Any]
    """In the order of the texts: ``list[float]`` or base64 strings, by ``encoding``."""
    tokens: int
    truncated: int
    """How many texts were cut at the model's length."""


class SearchEndpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A JSON search API that lists results with a URL (SearxNG's form, for one)."""

    url: Url
    """May contain ``{query}``; else ``q=`` is appended."""


class WebResearch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    question: Text
    urls: Annotated[list[Url], msgspec.Meta(max_length=20)] = []
    search: SearchEndpoint | None = None
    max_sources: Annotated[int, msgspec.Meta(ge=1, le=20)] = 5
    model: Name | None = None
    max_tokens: MaxTokens | None = None


class Source(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    """What ``[1]`` in the answer refers to."""
    url: str
    title: str
    excerpt: str
    characters: int
    error: str | None
    """Why it could not be used."""


class ResearchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    answer: str
    citations: list[int]
    """Numbers of the sources that the answer cites."""
    sources: list[Source]
    model: str


class Light(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    prompt: Text
    system: Annotated[str, msgspec.Meta(max_length=50_000)] = ""
    model: Name | None = None
    max_tokens: MaxTokens | None = None
    temperature: Temperature | None = None


class LightAnswer(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    finish_reason: str
    model: str


PAYLOADS: dict[str, type[msgspec.Struct]] = {
    "long_planning": LongPlanning,
    "code_generation": CodeGeneration,
    "batch_embedding": BatchEmbedding,
    "web_research": WebResearch,
    "light": Light,
}

RESULTS: dict[str, type[msgspec.Struct]] = {
    "long_planning": Plan,
    "code_generation": GeneratedCode,
    "batch_embedding": Embeddings,
    "web_research": ResearchAnswer,
    "light": LightAnswer,
}

INTERNAL_PAYLOADS: dict[str, type[msgspec.Struct]] = {"openai_batch": BatchChunk}
"""Of types that only the platform itself submits."""
INTERNAL_RESULTS: dict[str, type[msgspec.Struct]] = {"openai_batch": ChunkResult}
