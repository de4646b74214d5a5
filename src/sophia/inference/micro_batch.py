"""Concurrent embedding calls put into shared batches."""

from __future__ import annotations

import asyncio
import logging
from bisect import insort
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np

from sophia.inference.base import EmbeddingAnswer
from sophia.inference.engine import Engine, OutOfMemory, Vectors, answer
from sophia.nouns.errors import Unavailable

MAX_WAIT_S = 0.003
MAX_WAITING_TEXTS = 8_192
GROW_AFTER_BATCHES = 64
"""So many in a row went well at a size that was cut for lack of memory; then twice that is tried."""

# A row shorter than half of the longest would cost more as padding than it gains from company.
_LENGTH_RATIO = 2
_log = logging.getLogger(__name__)


class BatchingEmbedder:
    """An ``Embedder`` whose concurrent calls share passes through the engine, and take turns when they do not fit.

    A call that finds the engine idle waits ``max_wait_s`` for others, or until a batch is full. ``run`` does the work and
    must be running. What fails in company is tried again by call, so that nobody fails for his neighbours; what runs out
    of memory is tried again in smaller batches. ``on_batch`` hears the number of texts of each pass. The engine is the
    caller's to close.
    """

    def __init__(
        self,
        engine: Engine,
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
        self._batch_tokens = engine.batch_tokens
        self._went_well = 0

    async def embed(self, texts: Sequence[str]) -> EmbeddingAnswer:
        """Raises what the engine's ``encode`` raises, ``Unavailable`` when too many texts wait already, ``OutOfMemory``
        when a single text does not fit."""
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
        free = asyncio.Semaphore(self._engine.parallel)
        try:
            async with asyncio.TaskGroup() as passes:
                while True:
                    await self._arrived.wait()
                    await self._company()
                    while True:
                        await free.acquire()
                        batch = self._next_batch()
                        if not batch:
                            free.release()
                            break
                        passes.create_task(self._run(batch)).add_done_callback(lambda _: free.release())
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

    async def _company(self) -> None:
        """Until a batch is full, or nobody may be kept waiting any longer."""
        self._arrived.clear()
        try:
            async with asyncio.timeout(self._max_wait_s):
                while not self._full():
                    await self._arrived.wait()
                    self._arrived.clear()
        except TimeoutError:
            return

    def _full(self) -> bool:
        left = self._batch_tokens
        for call in self._calls:
            for index in call.rows:
                left -= len(call.ids[index])
                if left <= 0:
                    return True
        return False

    async def _run(self, batch: Sequence[_Row]) -> None:
        try:
            vectors = await self._engine.run([row.call.ids[row.index] for row in batch])
        except asyncio.CancelledError:
            for row in batch:
                row.call.fail(_stopping())
            raise
        except Exception as error:  # noqa: BLE001 - it belongs to the calls, and the next batch may do better
            self._failed(batch, error)
            return
        self._on_batch(len(batch))
        self._grow()
        for row, vector in zip(batch, vectors, strict=True):
            row.call.put(row.index, vector)

    def _failed(self, batch: Sequence[_Row], error: Exception) -> None:
        calls = {id(row.call): row.call for row in batch}
        if isinstance(error, OutOfMemory) and len(batch) > 1:
            tokens = len(batch) * max(len(row.call.ids[row.index]) for row in batch)
            self._batch_tokens = min(self._batch_tokens, tokens // 2)
            self._went_well = 0
            _log.warning("batches are cut to %d tokens: %s", self._batch_tokens, error)
        elif len(calls) > 1:
            for call in calls.values():
                call.alone = True
        else:
            for call in calls.values():
                call.fail(error)
            return
        for row in batch:
            row.call.put_back(row.index)
        self._calls.extend(call for call in calls.values() if call not in self._calls)
        self._arrived.set()

    def _grow(self) -> None:
        if self._batch_tokens < self._engine.batch_tokens:
            self._went_well += 1
            if self._went_well >= GROW_AFTER_BATCHES:
                self._batch_tokens = min(self._engine.batch_tokens, 2 * self._batch_tokens)
                self._went_well = 0

    def _next_batch(self) -> list[_Row]:
        """The longest row of the call whose turn it is, and what fits with it, its own rows before those of others."""
        while self._calls and not self._calls[0].rows:
            self._calls.popleft()
        batch: list[_Row] = []
        if not self._calls:
            return batch
        shortest = longest = 0
        for call in islice(self._calls, 1 if self._calls[0].alone else None):
            if batch and call.alone:
                continue
            while call.rows:
                length = len(call.ids[call.rows[-1]])
                short, long = min(shortest or length, length), max(longest, length)
                if batch and ((len(batch) + 1) * long > self._batch_tokens or short * _LENGTH_RATIO < long):
                    break
                batch.append(_Row(call, call.rows.pop()))
                shortest, longest = short, long
        self._calls.rotate(-1)
        return batch


class _Call:
    """``rows``: indexes of the texts that still wait, the longest last."""

    def __init__(self, ids: Sequence[Sequence[int]], dimensions: int) -> None:
        self.ids = ids
        self.rows = sorted(range(len(ids)), key=self._length)
        self.vectors: Vectors = np.empty((len(ids), dimensions), dtype=np.float32)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.alone = False
        """It failed in company, and shares no batch any more."""
        self._missing = len(ids)

    def put(self, index: int, vector: Vectors) -> None:
        self.vectors[index] = vector
        self._missing -= 1
        if self._missing == 0 and not self.done.done():
            self.done.set_result(None)

    def put_back(self, index: int) -> None:
        """Unless nobody waits for it any more."""
        if not self.done.done():
            insort(self.rows, index, key=self._length)

    def fail(self, error: Exception) -> None:
        self.rows.clear()
        if not self.done.done():
            self.done.set_exception(error)

    def _length(self, index: int) -> int:
        return len(self.ids[index])


class _Row:
    __slots__ = ("call", "index")

    def __init__(self, call: _Call, index: int) -> None:
        self.call = call
        self.index = index


def _stopping() -> Unavailable:
    return Unavailable("the embedding engine is stopping")
