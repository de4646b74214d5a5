"""Embedding requests of our own, and what comes back."""

from __future__ import annotations

import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sophia.inference.base import EmbeddingAnswer, ModelCard
from sophia.inference.catalog import priced
from sophia.nouns.errors import UpstreamError
from sophia.nouns.usage import Usage

Vectors = np.ndarray[Any, np.dtype[np.float32]]


def embedding_body(card: ModelCard, texts: Sequence[str]) -> dict[str, Any]:
    return {"model": card.upstream_model, "input": list(texts), "encoding_format": "base64"}


def embedding_answer(card: ModelCard, count: int, document: Mapping[str, Any]) -> EmbeddingAnswer:
    """The provider's answer for ``count`` texts, in their order. Raises ``UpstreamError`` when it is not that."""
    try:
        rows = sorted(document["data"], key=lambda row: int(row["index"]))
        vectors = np.stack([_vector(row["embedding"]) for row in rows])
        usage = document.get("usage") or {}
        tokens = int(usage.get("prompt_tokens") or usage.get("total_tokens") or 0)
        truncated = int(document.get("truncated") or 0)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise UpstreamError(f"{card.provider} did not answer with embeddings: {error!r}") from error
    if vectors.ndim != 2 or len(vectors) != count:
        raise UpstreamError(f"{card.provider} answered {count} texts with vectors of shape {vectors.shape}")
    if card.dimensions is not None and vectors.shape[1] != card.dimensions:
        raise UpstreamError(
            f"{card.provider} answers {card.upstream_model} with {vectors.shape[1]} dimensions, not {card.dimensions}"
        )
    return EmbeddingAnswer(
        vectors=vectors,
        model=card.id,
        usage=priced(card, Usage(embedding_tokens=tokens, model_calls=1)),
        truncated=truncated,
    )


def _vector(value: Any) -> Vectors:
    # Not every provider heeds the wish for base64.
    if isinstance(value, str):
        return np.frombuffer(binascii.a2b_base64(value, strict_mode=True), dtype="<f4").astype(np.float32)
    return np.asarray(value, dtype=np.float32)
