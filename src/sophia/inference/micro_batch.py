"""Concurrent embedding calls put into shared batches."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from sophia.inference.base import EmbeddingAnswer
from sophia.inference.onnx_embedder import BATCH_TOKENS, OnnxEmbedder, Vectors, answer
from sophia.nouns.errors import Unavailable

MAX_WAIT_S = 0.003
MAX_WAITING_TEXTS = 8_192

# A row shorter than half of the longest would cost more as padding than it gains from company.
_LENGTH_RATIO = 2


class BatchingEmbedder:
    """An ``Embedder`` whose concurrent calls share passes through the graph, and take turns when they do not fit.

    A call that finds the engine idle waits ``max_wait_s`` for others. ``run`` does the work and must be running.
    ``on_batch`` hears the number of texts of each pass. The engine is the caller's to close.
    """

    def __init__(
        self,
        engine: OnnxEmbedder,
        *,
        max_wait_s: float = MAX_WAIT_S,
        max_waiting_texts: int = MAX_WAITING_TEXTS,
        on_batch: Callable[[int], None] = lambda texts: None,
    ) -> None:
        self.model = engine.model
        self.dimensions = engine.dimensions
        self._engine = engine
        self._max_wait_s = max_wait_s
        self._max_waiting_texts = max_waiting_texts
        self._on_batch = on_batch
        self._calls: deque[_Call] = deque()
        self._arrived = asyncio.Event()
        self._ended = False

    async def embed(self, texts: Sequence[str]) -> EmbeddingAnswer:
        """Raises ``InvalidInput`` for what is not text, ``Unavailable`` when too many texts wait already."""
        if self.waiting + len(texts) > self._max_waiting_texts:
            raise Unavailable(f"{self.waiting} texts wait to be embedded already", retry_after_s=1.0)
        encoded = await self._engine.encode(texts)
        if self._ended:
            raise _stopping()
        call = _Call([text.ids for text in encoded], self.dimensions)
        if encoded:
            self._calls.append(call)
            self._arrived.set()
            try:
                await call.done
            finally:
                call.rows.clear()
        return answer(self.model, encoded, call.vectors)

    async def run(self) -> None:
        """Work until cancelled; then calls that wait are refused."""
        try:
            while True:
                await self._arrived.wait()
                await asyncio.sleep(self._max_wait_s)
                while batch := self._next_batch():
                    await self._run(batch)
                self._arrived.clear()
        finally:
            self._ended = True
            for call in self._calls:
                call.fail(_stopping())

    async def close(self) -> None:
        return None

    @property
    def waiting(self) -> int:
        """Texts that are not in a batch yet."""
        return sum(len(call.rows) for call in self._calls)

    async def _run(self, batch: Sequence[_Row]) -> None:
        try:
            vectors = await self._engine.run([row.call.ids[row.index] for row in batch])
        except asyncio.CancelledError:
            for row in batch:
                row.call.fail(_stopping())
            raise
        except Exception as error:  # noqa: BLE001 - it belongs to the calls, and the next batch may do better
            for row in batch:
                row.call.fail(error)
            return
        self._on_batch(len(batch))
        for row, vector in zip(batch, vectors, strict=True):
            row.call.put(row.index, vector)

    def _next_batch(self) -> list[_Row]:
        """The longest row of the call whose turn it is, and what fits with it, its own rows before those of others."""
        while self._calls and not self._calls[0].rows:
            self._calls.popleft()
        batch: list[_Row] = []
        shortest = longest = 0
        for call in self._calls:
            while call.rows:
                length = len(call.ids[call.rows[-1]])
                short, long = min(shortest or length, length), max(longest, length)
                if batch and ((len(batch) + 1) * long > BATCH_TOKENS or short * _LENGTH_RATIO < long):
                    break
                batch.append(_Row(call, call.rows.pop()))
                shortest, longest = short, long
        self._calls.rotate(-1)
        return batch


class _Call:
    """``rows``: indexes of the texts that still wait, the longest last."""

    def __init__(self, ids: Sequence[Sequence[int]], dimensions: int) -> None:
        self.ids = ids
        self.rows = sorted(range(len(ids)), key=lambda index: len(ids[index]))
        self.vectors: Vectors = np.empty((len(ids), dimensions), dtype=np.float32)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._missing = len(ids)

    def put(self, index: int, vector: Vectors) -> None:
        self.vectors[index] = vector
        self._missing -= 1
        if self._missing == 0 and not self.done.done():
            self.done.set_result(None)

    def fail(self, error: Exception) -> None:
        self.rows.clear()
        if not self.done.done():
            self.done.set_exception(error)


class _Row:
    __slots__ = ("call", "index")

    def __init__(self, call: _Call, index: int) -> None:
        self.call = call
        self.index = index


def _stopping() -> Unavailable:
    return Unavailable("the embedding engine is stopping")
