"""Embeddings in this process: tokenizers and ONNX Runtime, no torch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from tokenizers import Tokenizer

from sophia.inference.base import EmbeddingAnswer
from sophia.inference.onnx_cache import sentence_encoder_file
from sophia.inference.packaged import EMBEDDING_MODEL, embedding_model_folder
from sophia.nouns.errors import ConfigError, InvalidInput, SophiaError
from sophia.nouns.usage import Usage

# Tokens, padding included, that go through the graph at once. On one core 1,024 were as fast as any size and took half
# the memory of 4,096; and a cancelled call ends, and concurrent calls take turns, after less than a second.
BATCH_TOKENS = 1_024


Vectors = np.ndarray[Any, np.dtype[np.float32]]
_Input = TypeVar("_Input")
_Output = TypeVar("_Output")


class Encoded(msgspec.Struct, frozen=True):
    """One text as token ids, special tokens included; ``cut`` when it was longer than the model takes."""

    ids: tuple[int, ...]
    cut: bool


class OnnxEmbedder:
    """An ``Embedder`` for a sentence encoder built by ``onnx_graph``; one text's vector does not depend on the others.

    All work is done in one thread, a batch at a time, with ``threads`` cores within a batch.
    """

    def __init__(self, graph: Path, tokenizer: Path, *, model: str, max_tokens: int, threads: int) -> None:
        """Loads the model: blocks for about a second. Raises ``ConfigError`` when a file cannot be loaded."""
        self.model = model
        self._tokenizer = _load_tokenizer(tokenizer, max_tokens)
        self._session = _load_session(graph, threads)
        self.dimensions = int(self._session.get_outputs()[0].shape[1])
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedder")

    async def embed(self, texts: Sequence[str]) -> EmbeddingAnswer:
        """``usage.embedding_tokens`` counts what the model saw: special tokens too, padding and cut text not.

        Raises ``InvalidInput`` for what is not text.
        """
        encoded = await self.encode(texts)
        vectors = np.empty((len(encoded), self.dimensions), dtype=np.float32)
        for batch in batches([len(text.ids) for text in encoded], BATCH_TOKENS):
            vectors[batch] = await self.run([encoded[index].ids for index in batch])
        return answer(self.model, encoded, vectors)

    async def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Raises ``InvalidInput`` for what is not text."""
        return await self._in_thread(self._encode, list(texts))

    async def run(self, rows: Sequence[Sequence[int]]) -> Vectors:
        """One pass through the graph: (rows, dimensions)."""
        return await self._in_thread(self._run, rows)

    async def close(self) -> None:
        """Waits for the batch that is running."""
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    async def _in_thread(self, work: Callable[[_Input], _Output], given: _Input) -> _Output:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, given)

    def _encode(self, texts: Sequence[str]) -> list[Encoded]:
        encoded = []
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise InvalidInput(f"not a text but {type(text).__name__}", field=f"texts[{index}]")
            encoding = self._tokenizer.encode(_valid_unicode(text))
            encoded.append(Encoded(tuple(encoding.ids), bool(encoding.overflowing)))
        return encoded

    def _run(self, rows: Sequence[Sequence[int]]) -> Vectors:
        longest = max(len(row) for row in rows)
        ids = np.zeros((len(rows), longest), dtype=np.int64)
        mask = np.zeros_like(ids)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1
        try:
            (vectors,) = self._session.run(None, {"input_ids": ids, "attention_mask": mask})
        except Exception as error:
            raise SophiaError(f"embedding failed: {error}") from error
        return np.asarray(vectors, dtype=np.float32)


def answer(model: str, encoded: Sequence[Encoded], vectors: Vectors) -> EmbeddingAnswer:
    return EmbeddingAnswer(
        vectors=vectors,
        model=model,
        usage=Usage(embedding_tokens=sum(len(text.ids) for text in encoded), model_calls=1),
        truncated=sum(text.cut for text in encoded),
    )


def packaged_embedder(cache_folder: Path, *, max_tokens: int, threads: int) -> OnnxEmbedder:
    """The packaged embedding model. Blocks: for seconds when its graph is not in ``cache_folder`` yet."""
    folder = embedding_model_folder()
    return OnnxEmbedder(
        sentence_encoder_file(folder, cache_folder, EMBEDDING_MODEL),
        folder / "tokenizer.json",
        model=EMBEDDING_MODEL,
        max_tokens=max_tokens,
        threads=threads,
    )


def batches(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Indexes of texts to run together: of like length, so that little is padding, and ``max_tokens`` at most with it."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[index] > max_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _valid_unicode(text: str) -> str:
    """Half surrogate pairs, which JSON can smuggle in, replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _load_tokenizer(path: Path, max_tokens: int) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # of no type of its own
        raise ConfigError(f"cannot load the tokenizer {path}: {error}") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=max_tokens)
    return tokenizer


def _load_session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that wait must not take the core from the other servers of a small machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ConfigError(f"cannot load the model {path}: {error}", mend=f"delete {path}: it is built again") from error
