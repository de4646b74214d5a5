"""Embeddings in this process by torch, for GPUs (``sophia[torch]``)."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from sophia.inference.base import EmbeddingAnswer
from sophia.inference.batches import batches
from sophia.inference.engine import Encoded, OutOfMemory, Vectors, answer
from sophia.inference.sentence_model import SentenceModel, read_sentence_model
from sophia.inference.tokenizing import Tokenizing
from sophia.inference.torch_encoder import Tokens, TorchEncoder
from sophia.nouns.errors import ConfigError, SophiaError

GPU_BATCH_TOKENS = 16_384
CPU_BATCH_TOKENS = 512


class TorchEmbedder:
    """An ``Embedder`` and an ``Engine``. On a GPU two batches are under way at once: while one is computed, the next one
    is put together and copied."""

    def __init__(
        self,
        encoder: TorchEncoder,
        tokenizing: Tokenizing,
        *,
        model: str,
        dimensions: int,
        device: str,
        batch_tokens: int,
    ) -> None:
        self.model = model
        self.dimensions = dimensions
        self.batch_tokens = batch_tokens
        self.parallel = 2 if device.startswith("cuda") else 1
        self._encoder = encoder
        self._tokenizing = tokenizing
        self._device = device
        self._threads = ThreadPoolExecutor(max_workers=self.parallel, thread_name_prefix="embedder")

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
            with torch.inference_mode():
                vectors: Vectors = self._encoder(self._tokens(rows)).cpu().numpy()
        except (torch.OutOfMemoryError, MemoryError) as error:
            self._release()
            raise OutOfMemory(f"embedding ran out of memory: {error}") from error
        except RuntimeError as error:
            # What torch's allocator for CPUs says has no type of its own.
            if "can't allocate memory" in str(error):
                raise OutOfMemory(f"embedding ran out of memory: {error}") from error
            raise SophiaError(f"embedding failed: {error}") from error
        return vectors

    def _tokens(self, rows: Sequence[Sequence[int]]) -> Tokens:
        lengths = [len(row) for row in rows]
        ids = torch.tensor([id for row in rows for id in row], dtype=torch.int64)
        offsets = torch.tensor([0, *np.cumsum(lengths).tolist()], dtype=torch.int64)
        if self.parallel > 1:
            ids, offsets = (each.pin_memory().to(self._device, non_blocking=True) for each in (ids, offsets))
        return Tokens(ids, offsets, lengths)

    def _release(self) -> None:
        if self._device.startswith("cuda"):
            torch.cuda.empty_cache()


def torch_embedder(
    folder: Path,
    *,
    model: str,
    max_tokens: int,
    device: str | None = None,
    batch_tokens: int | None = None,
    refuse_longer: bool = False,
) -> TorchEmbedder:
    """The sentence-transformers model in ``folder``, on the GPU where there is one (``device`` ``None``): in bfloat16,
    in float16 on GPUs before Ampere, in float32 on a CPU. Raises ``ConfigError``."""
    found = read_sentence_model(folder)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    tokenizing = Tokenizing(
        found.tokenizer,
        max_tokens=min(max_tokens, found.max_tokens),
        prompt=found.prompt,
        refuse_longer=refuse_longer,
    )
    with warnings.catch_warnings():
        # Nested tensors say that their interface may change; the range of torch's version is set for that.
        warnings.filterwarnings("ignore", message=".*nested tensors", category=UserWarning)
        encoder = TorchEncoder(found, _weights(found), device, _dtype(device))
        _warm(encoder, device)
    return TorchEmbedder(
        encoder,
        tokenizing,
        model=model,
        dimensions=found.config.hidden_size,
        device=device,
        batch_tokens=batch_tokens or (GPU_BATCH_TOKENS if device.startswith("cuda") else CPU_BATCH_TOKENS),
    )


def _warm(encoder: TorchEncoder, device: str) -> None:
    """Kernels are chosen, and libraries loaded, with the first batch."""
    with torch.inference_mode():
        encoder(
            Tokens(torch.zeros(8, dtype=torch.int64, device=device), torch.tensor([0, 3, 8], device=device), [3, 5])
        )


def _weights(model: SentenceModel) -> dict[str, Any]:
    try:
        weights: dict[str, Any] = load_file(model.weights)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"cannot read {model.weights}: {error}") from error
    return weights


def _dtype(device: str) -> Any:
    if not device.startswith("cuda"):
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
