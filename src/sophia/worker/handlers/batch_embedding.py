"""``batch_embedding``: any number of texts, in batches, in order."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from sophia.nouns.errors import InvalidResult
from sophia.nouns.payloads import BatchEmbedding, Embeddings
from sophia.worker.context import TaskContext

if TYPE_CHECKING:
    import numpy as np

    Matrix = np.ndarray[Any, np.dtype[np.float32]]

FLOAT_DECIMALS = 9
"""float32 holds about seven digits; more would only lengthen the JSON."""


async def run(context: TaskContext, payload: BatchEmbedding) -> Embeddings:
    """One vector per text. Progress counts texts, after each batch."""
    size = context.settings.embedding.batch_texts
    total = len(payload.texts)
    model = context.card(payload.model, "embedding").id
    vectors: list[Any] = []
    dimensions = tokens = truncated = 0
    for start in range(0, total, size):
        answer = await context.embed(payload.texts[start : start + size], model=model)
        width = int(answer.vectors.shape[1])
        if dimensions not in (0, width):
            raise InvalidResult(f"{model} gave vectors of {dimensions} and of {width} dimensions")
        dimensions = width
        vectors.extend(encoded(answer.vectors, payload.encoding))
        tokens += answer.usage.embedding_tokens
        truncated += answer.truncated
        await context.progress(len(vectors), total, f"{len(vectors)} of {total} texts embedded")
    return Embeddings(
        model=model,
        dimensions=dimensions,
        count=len(vectors),
        encoding=payload.encoding,
        vectors=vectors,
        tokens=tokens,
        truncated=truncated,
    )


def encoded(vectors: Matrix, encoding: str) -> list[Any]:
    """Rows as ``list[float]`` (``float``) or as base64 of little-endian float32 (``base64``)."""
    if encoding == "base64":
        return [base64.b64encode(row.tobytes()).decode("ascii") for row in vectors.astype("<f4")]
    rows: list[Any] = vectors.astype("float64").round(FLOAT_DECIMALS).tolist()
    return rows
