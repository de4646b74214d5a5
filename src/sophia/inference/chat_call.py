"""Chat requests of our own, and what comes back."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from typing import Any

from sophia.inference.base import ChatDelta, ModelCard
from sophia.inference.catalog import priced
from sophia.nouns.errors import UpstreamError
from sophia.nouns.usage import Usage

_log = logging.getLogger(__name__)

# Where a provider says nothing about usage: the usual rule of thumb for English text.
_CHARACTERS_PER_TOKEN = 4

# OpenAI's reasoning models take max_completion_tokens in place of max_tokens, and no temperature but 1 and no penalties.
_DISPENSABLE = frozenset({"max_tokens", "temperature", "frequency_penalty", "presence_penalty"})


def chat_body(card: ModelCard, messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> dict[str, Any]:
    """The streamed OpenAI request. Parameters that are ``None`` are left out; ``json_schema`` becomes a strict
    ``response_format``."""
    body: dict[str, Any] = {
        "model": card.upstream_model,
        "messages": list(messages),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    body.update({name: value for name, value in params.items() if value is not None and name != "json_schema"})
    schema = params.get("json_schema")
    if schema is not None:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": schema},
        }
    return body


def refused_parameter(body: Mapping[str, Any], error: UpstreamError) -> str | None:
    """The parameter of ``body`` that the provider refused and that the request can do without."""
    return error.field if error.status == 400 and error.field in _DISPENSABLE and error.field in body else None


def without(body: Mapping[str, Any], refused: Collection[str]) -> dict[str, Any]:
    """The request without refused parameters; a refused ``max_tokens`` goes by its newer name."""
    kept = {name: value for name, value in body.items() if name not in refused}
    if "max_tokens" in refused and "max_tokens" in body:
        kept["max_completion_tokens"] = body["max_tokens"]
    return kept


async def deltas(
    card: ModelCard, messages: Sequence[Mapping[str, Any]], chunks: AsyncIterator[dict[str, Any]]
) -> AsyncGenerator[ChatDelta]:
    """Text as it comes, and last a delta with the finish reason and the usage."""
    finish_reason = "stop"
    usage: dict[str, Any] | None = None
    pieces = 0
    async for chunk in chunks:
        usage = chunk.get("usage") or usage
        for choice in chunk.get("choices") or []:
            finish_reason = choice.get("finish_reason") or finish_reason
            text = (choice.get("delta") or {}).get("content")
            if text:
                pieces += 1
                yield ChatDelta(text=text)
    spent = _usage(usage) if usage is not None else _estimated(card, messages, pieces)
    yield ChatDelta(finish_reason=finish_reason, usage=priced(card, spent))


def _usage(counts: Mapping[str, Any]) -> Usage:
    return Usage(
        input_tokens=int(counts.get("prompt_tokens") or 0),
        output_tokens=int(counts.get("completion_tokens") or 0),
        model_calls=1,
    )


def _estimated(card: ModelCard, messages: Sequence[Mapping[str, Any]], pieces: int) -> Usage:
    # Providers stream about a token a piece.
    _log.warning("%s sent no usage for %s: tokens are estimated", card.provider, card.upstream_model)
    characters = sum(len(str(message.get("content") or "")) for message in messages)
    return Usage(input_tokens=max(1, characters // _CHARACTERS_PER_TOKEN), output_tokens=pieces, model_calls=1)
