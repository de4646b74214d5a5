"""What a forwarded request cost."""

from __future__ import annotations

import msgspec

from sophia.inference.base import ModelCard
from sophia.nouns.batches import BatchTokens
from sophia.nouns.usage import Usage


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Counts(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class _Answer(msgspec.Struct):
    usage: _Counts | None = None


def discounted(card: ModelCard, factor: float) -> ModelCard:
    return msgspec.structs.replace(
        card,
        usd_per_1k_input_tokens=card.usd_per_1k_input_tokens * factor,
        usd_per_1k_output_tokens=card.usd_per_1k_output_tokens * factor,
    )


def tokens_in(body: bytes) -> BatchTokens | None:
    """What the provider says it used; ``None`` when it says nothing."""
    try:
        counts = msgspec.json.decode(body, type=_Answer).usage
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if counts is None:
        return None
    prompt, completion = counts.prompt_tokens_details, counts.completion_tokens_details
    return BatchTokens(
        input_tokens=counts.prompt_tokens,
        cached_tokens=(prompt.cached_tokens if prompt else None) or 0,
        output_tokens=counts.completion_tokens,
        reasoning_tokens=(completion.reasoning_tokens if completion else None) or 0,
    )


def usage_in(body: bytes, kind: str) -> Usage | None:
    tokens = tokens_in(body)
    if tokens is None:
        return None
    if kind == "embedding":
        return Usage(embedding_tokens=tokens.input_tokens)
    return Usage(input_tokens=tokens.input_tokens, output_tokens=tokens.output_tokens)
