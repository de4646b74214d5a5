"""Embeddings in this process: tokenizers and ONNX Runtime, no torch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime  # type: ignore[import-untyped]

from sophia.inference.base import EmbeddingAnswer
from sophia.inference.batches import batches
from sophia.inference.engine import Encoded, OutOfMemory, Vectors, answer, padded
from sophia.inference.onnx_cache import sentence_encoder_file
from sophia.inference.packaged import EMBEDDING_MODEL, embedding_model_folder
from sophia.inference.sentence_model import read_sentence_model
from sophia.inference.tokenizing import Tokenizing
from sophia.nouns.errors import ConfigError, SophiaError

# On one core 512 to 2,048 were as fast, and 512 takes the least memory; and a cancelled call ends, and concurrent calls
# take turns, after a fraction of a second.
BATCH_TOKENS = 512
_NO_MEMORY = ("Failed to allocate memory", "bad_alloc", "bad allocation")


class OnnxEmbedder:
    """An ``Embedder`` and an ``Engine`` for a sentence encoder built by ``onnx_graph``.

    ``threads`` batches run at once, each on one core: nothing is spent on cores that wait for each other within a batch.
    """

    def __init__(
        self, graph: Path, tokenizing: Tokenizing, *, model: str, threads: int, batch_tokens: int = BATCH_TOKENS
    ) -> None:
        """Loads the model: blocks for about a second. Raises ``ConfigError`` when a file cannot be loaded."""
        self.model = model
        self.parallel = threads
        self.batch_tokens = batch_tokens
        self._tokenizing = tokenizing
        self._session = _load_session(graph)
        self.dimensions = int(self._session.get_outputs()[0].shape[1])
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="embedder")

    async def embed(self, texts: Sequence[str]) -> EmbeddingAnswer:
        """One batch after the other. ``micro_batch`` runs several, of several calls. Raises what ``encode`` raises."""
        encoded = await self.encode(texts)
        vectors = np.empty((len(encoded), self.dimensions), dtype=np.float32)
        for batch in batches([len(text.ids) for text in encoded], self.batch_tokens):
            vectors[batch] = await self.run([encoded[index].ids for index in batch])
        return answer(self.model, encoded, vectors)

    async def encode(self, texts: Sequence[str]) -> list[Encoded]:
        return await self._tokenizing.encode(texts)

    async def run(self, rows: Sequence[Sequence[int]]) -> Vectors:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, rows)

    async def close(self) -> None:
        await self._tokenizing.close()
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)

    def _run(self, rows: Sequence[Sequence[int]]) -> Vectors:
        try:
            ids, mask = padded(rows)
            (vectors,) = self._session.run(None, {"input_ids": ids, "attention_mask": mask})
        except MemoryError as error:
            raise OutOfMemory("embedding ran out of memory") from error
        except Exception as error:
            if any(words in str(error) for words in _NO_MEMORY):
                raise OutOfMemory(f"embedding ran out of memory: {error}") from error
            raise SophiaError(f"embedding failed: {error}") from error
        return np.asarray(vectors, dtype=np.float32)


def onnx_embedder(
    folder: Path,
    cache_folder: Path,
    *,
    model: str,
    max_tokens: int,
    threads: int,
    int8: bool = False,
    batch_tokens: int | None = None,
    refuse_longer: bool = False,
) -> OnnxEmbedder:
    """The sentence-transformers model in ``folder``. Texts are cut at ``max_tokens``, or at the model's own length where
    that is less. Blocks: for seconds when its graph is not in ``cache_folder`` yet. Raises ``ConfigError``, ``StorageFull``."""
    found = read_sentence_model(folder)
    tokenizing = Tokenizing(
        found.tokenizer,
        max_tokens=min(max_tokens, found.max_tokens),
        prompt=found.prompt,
        refuse_longer=refuse_longer,
    )
    graph = sentence_encoder_file(found, cache_folder, model, int8=int8)
    return OnnxEmbedder(graph, tokenizing, model=model, threads=threads, batch_tokens=batch_tokens or BATCH_TOKENS)


def packaged_embedder(cache_folder: Path, *, max_tokens: int, threads: int, int8: bool = False) -> OnnxEmbedder:
    """The packaged embedding model."""
    return onnx_embedder(
        embedding_model_folder(), cache_folder, model=EMBEDDING_MODEL, max_tokens=max_tokens, threads=threads, int8=int8
    )


def _load_session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ConfigError(f"cannot load the model {path}: {error}", mend=f"delete {path}: it is built again") from error
