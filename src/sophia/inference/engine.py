"""The contract of embedding engines, which turn token ids into vectors, and what is common to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
import numpy as np

from sophia.inference.base import EmbeddingAnswer
from sophia.nouns.errors import ErrorClass, SophiaError
from sophia.nouns.usage import Usage

Vectors = np.ndarray[Any, np.dtype[np.float32]]


class OutOfMemory(SophiaError):
    """The batch did not fit the engine's memory; a smaller one may."""

    code = "out_of_memory"
    error_class = ErrorClass.RETRYABLE


class Encoded(msgspec.Struct, frozen=True):
    """One text as token ids, special tokens included; ``cut`` when it was longer than the model takes."""

    ids: Sequence[int]
    cut: bool


class Engine(Protocol):
    """One loaded model. A row's vector does not depend on its batch, but for rounding."""

    model: str
    dimensions: int
    batch_tokens: int
    """Tokens, padding included, that are best run at once."""
    parallel: int
    """Batches that run at once gain from it up to so many."""

    async def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Raises ``InvalidInput`` for what is not text, and for texts that are too long where they are refused."""

    async def run(self, rows: Sequence[Sequence[int]]) -> Vectors:
        """One pass: (rows, dimensions). Raises ``OutOfMemory``; the engine is as before then."""

    async def close(self) -> None:
        """Waits for what runs."""


def answer(model: str, encoded: Sequence[Encoded], vectors: Vectors) -> EmbeddingAnswer:
    """``usage.embedding_tokens`` counts what the model saw: special tokens too, padding and cut text not."""
    return EmbeddingAnswer(
        vectors=vectors,
        model=model,
        usage=Usage(embedding_tokens=sum(len(text.ids) for text in encoded), model_calls=1),
        truncated=sum(text.cut for text in encoded),
    )


def padded(rows: Sequence[Sequence[int]], pad_id: int = 0) -> tuple[Any, Any]:
    """Ids and mask, int64, (rows, longest)."""
    longest = max(len(row) for row in rows)
    ids = np.full((len(rows), longest), pad_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = 1
    return ids, mask
