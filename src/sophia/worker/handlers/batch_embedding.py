"""``batch_embedding``: any number of texts, in batches, in order."""

from __future__ import annotations

import asyncio
import base64
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from itertools import islice
from typing import TYPE_CHECKING, Any

from sophia.cancel import cancel_all
from sophia.inference.base import EmbeddingAnswer
from sophia.nouns.errors import InvalidResult
from sophia.nouns.payloads import BatchEmbedding, Embeddings
from sophia.worker.context import TaskContext

if TYPE_CHECKING:
    import numpy as np

    Matrix = np.ndarray[Any, np.dtype[np.float32]]

AHEAD = 2
"""Batches of one task under way: one is computed while the last one's vectors are written and reported."""
FLOAT_DECIMALS = 9
"""float32 holds about seven digits; more would only lengthen the JSON."""


async def run(context: TaskContext, payload: BatchEmbedding) -> Embeddings:
    """One vector per text. Progress counts texts, after each batch; the next batch is under way meanwhile."""
    total = len(payload.texts)
    model = context.card(payload.model, "embedding").id
    vectors: list[Any] = []
    dimensions = tokens = truncated = 0
    async with aclosing(_answers(context, payload.texts, model)) as answers:
        async for answer in answers:
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


async def _answers(context: TaskContext, texts: Sequence[str], model: str) -> AsyncGenerator[EmbeddingAnswer]:
    """In order, with ``AHEAD`` batches under way."""
    size = context.settings.embedding.batch_texts
    starts = iter(range(0, len(texts), size))
    under_way: deque[asyncio.Task[EmbeddingAnswer]] = deque()
    try:
        while True:
            for start in islice(starts, AHEAD - len(under_way)):
                batch = texts[start : start + size]
                under_way.append(asyncio.create_task(context.embed(batch, model=model)))
            if not under_way:
                return
            yield await under_way[0]
            under_way.popleft()
    finally:
        await cancel_all(*under_way)


def encoded(vectors: Matrix, encoding: str) -> list[Any]:
    """Rows as ``list[float]`` (``float``) or as base64 of little-endian float32 (``base64``)."""
    if encoding == "base64":
        return [base64.b64encode(row.tobytes()).decode("ascii") for row in vectors.astype("<f4")]
    rows: list[Any] = vectors.astype("float64").round(FLOAT_DECIMALS).tolist()
    return rows
