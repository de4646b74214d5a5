"""The in-process embedder against sentence-transformers' own vectors, and its care for batches, masks and odd input."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from sophia.inference.batches import batches
from sophia.inference.onnx_embedder import OnnxEmbedder, packaged_embedder
from sophia.nouns.errors import InvalidInput

REFERENCE = json.loads((Path(__file__).parents[1] / "data" / "minilm_reference.json").read_text())
TEXTS: list[str] = [row["text"] for row in REFERENCE["rows"]]
VECTORS: Any = np.array([row["vector"] for row in REFERENCE["rows"]], dtype=np.float32)


@pytest_asyncio.fixture
async def embedder(embedding_cache: Path) -> AsyncIterator[OnnxEmbedder]:
    engine = packaged_embedder(embedding_cache, max_tokens=256, threads=1)
    yield engine
    await engine.close()


async def test_vectors_are_those_of_sentence_transformers(embedder: OnnxEmbedder):
    answer = await embedder.embed(TEXTS)
    assert answer.vectors.shape == (len(TEXTS), embedder.dimensions) == (len(TEXTS), 384)
    assert answer.vectors.dtype == np.float32
    cosines = (answer.vectors * VECTORS).sum(axis=1) / np.linalg.norm(VECTORS, axis=1)
    assert cosines.min() >= 0.9999, dict(zip(TEXTS, cosines.tolist(), strict=True))
    assert np.allclose(np.linalg.norm(answer.vectors, axis=1), 1, atol=1e-5)


async def test_int8_stays_close(embedding_cache: Path):
    engine = packaged_embedder(embedding_cache, max_tokens=256, threads=2, int8=True)
    vectors = (await engine.embed(TEXTS)).vectors
    await engine.close()
    cosines = (vectors * VECTORS).sum(axis=1) / np.linalg.norm(VECTORS, axis=1)
    assert cosines.min() > 0.99, dict(zip(TEXTS, cosines.tolist(), strict=True))
    assert cosines.mean() > 0.998


async def test_a_vector_does_not_depend_on_its_batch(embedder: OnnxEmbedder):
    together = (await embedder.embed(TEXTS)).vectors
    reversed_order = (await embedder.embed(TEXTS[::-1])).vectors[::-1]
    assert np.allclose(together, reversed_order, atol=1e-5)
    for index in (0, 3, 10, 20, 25):
        alone = (await embedder.embed([TEXTS[index]])).vectors[0]
        assert np.allclose(together[index], alone, atol=1e-5), TEXTS[index]
    # Padded from 3 tokens to 256 within one batch.
    padded = await embedder.run([(101, 7592, 102), (101, *[2773] * 254, 102)])
    assert np.allclose(padded[0], (await embedder.embed(["hello"])).vectors[0], atol=1e-5)


async def test_counts_tokens_and_cut_texts(embedder: OnnxEmbedder):
    answer = await embedder.embed(["hello", "word " * 254, "word " * 255])
    assert answer.usage.embedding_tokens == 3 + 256 + 256
    assert answer.usage.model_calls == 1
    assert answer.truncated == 1


async def test_odd_input(embedder: OnnxEmbedder):
    odd = ["", " ", "\x00\x01", "half a pair \ud800 of surrogates", "\u200b" * 10, "a" * 100_000]
    answer = await embedder.embed(odd)
    assert np.isfinite(answer.vectors).all()
    assert np.allclose(np.linalg.norm(answer.vectors, axis=1), 1, atol=1e-5)
    assert (await embedder.embed([])).vectors.shape == (0, 384)
    with pytest.raises(InvalidInput) as raised:
        await embedder.embed(["fine", 7])  # type: ignore[list-item]
    assert raised.value.field == "texts[1]"


async def test_concurrent_calls_keep_their_own_vectors(embedder: OnnxEmbedder):
    answers = await asyncio.gather(*(embedder.embed([text]) for text in TEXTS[:8]))
    found = np.stack([answer.vectors[0] for answer in answers])
    assert np.allclose(found, VECTORS[:8], atol=1e-4)


async def test_the_graph_is_built_once(embedding_cache: Path, embedder: OnnxEmbedder):
    before = {name: at for name, at in written(embedding_cache).items() if "float" in name}
    again = packaged_embedder(embedding_cache, max_tokens=256, threads=1)
    await again.close()
    assert before.items() <= written(embedding_cache).items()
    assert len(before) == 1


def written(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_batches_are_of_like_length_and_bounded():
    lengths = [256, 3, 256, 4, 100, 5, 300]
    groups = list(batches(lengths, max_tokens=512))
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[index] for index in group) <= 512
    assert list(batches([], max_tokens=512)) == []
