"""Concurrent embedding calls in shared batches, on the real engine; and the folder that keeps built graphs."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from sophia.inference.micro_batch import BatchingEmbedder
from sophia.inference.onnx_cache import sentence_encoder_file
from sophia.inference.onnx_embedder import OnnxEmbedder, packaged_embedder
from sophia.inference.packaged import embedding_model_folder
from sophia.nouns.errors import ConfigError, InvalidInput, StorageFull, Unavailable
from tests.support.waiting import eventually

TEXTS = ["one", "a second text", "word " * 60, "word " * 200, "six", "", "seven is longer than six", "8"]


@pytest_asyncio.fixture
async def engine(embedding_cache: Path) -> AsyncIterator[OnnxEmbedder]:
    opened = packaged_embedder(embedding_cache, max_tokens=256, threads=1)
    yield opened
    await opened.close()


async def test_each_call_gets_its_own_vectors_and_counts(engine: OnnxEmbedder):
    sizes: list[int] = []
    embedder = BatchingEmbedder(engine, on_batch=sizes.append)
    running = asyncio.create_task(embedder.run())
    alone = await engine.embed(TEXTS)
    answers = await asyncio.gather(*(embedder.embed([text]) for text in TEXTS), embedder.embed(TEXTS))
    assert np.allclose(np.concatenate([answer.vectors for answer in answers[:-1]]), alone.vectors, atol=1e-5)
    assert np.allclose(answers[-1].vectors, alone.vectors, atol=1e-5)
    assert [answer.usage.embedding_tokens for answer in answers[:1]] == [3]
    assert answers[-1].usage.embedding_tokens == alone.usage.embedding_tokens
    assert sum(sizes) == 2 * len(TEXTS)
    assert len(sizes) < 2 * len(TEXTS)
    assert (await embedder.embed([])).vectors.shape == (0, 384)
    running.cancel()


async def test_a_small_call_does_not_wait_for_a_large_one(engine: OnnxEmbedder):
    embedder = BatchingEmbedder(engine)
    running = asyncio.create_task(embedder.run())
    large = asyncio.create_task(embedder.embed(["word " * 250] * 40))
    await eventually(lambda: embedder.waiting)
    small = await embedder.embed(["hello"])
    assert small.usage.embedding_tokens == 3
    assert not large.done()
    large.cancel()
    await eventually(lambda: embedder.waiting == 0)
    running.cancel()


async def test_too_much_at_once_is_refused(engine: OnnxEmbedder):
    embedder = BatchingEmbedder(engine, max_waiting_texts=3)
    with pytest.raises(Unavailable) as raised:
        await embedder.embed(["a"] * 4)
    assert raised.value.retry_after_s == 1.0


async def test_stopping_refuses_what_waits(engine: OnnxEmbedder):
    embedder = BatchingEmbedder(engine)
    running = asyncio.create_task(embedder.run())
    calls = [asyncio.create_task(embedder.embed(["word " * 250] * 8)) for _ in range(3)]
    await eventually(lambda: embedder.waiting)
    running.cancel()
    outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 20)
    assert {type(outcome) for outcome in outcomes} == {Unavailable}


async def test_what_is_not_text_is_refused(engine: OnnxEmbedder):
    with pytest.raises(InvalidInput):
        await BatchingEmbedder(engine).embed([None])  # type: ignore[list-item]


@pytest.mark.parametrize(("number", "error"), [(errno.ENOSPC, StorageFull), (errno.EIO, ConfigError)])
def test_a_graph_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
):
    def fails(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(error):
        sentence_encoder_file(embedding_model_folder(), tmp_path, "model")
    assert list(tmp_path.iterdir()) == []


def test_graphs_of_other_versions_are_removed(tmp_path: Path):
    old = tmp_path / "model-0123456789abcdef-0.onnx"
    other = tmp_path / "another-0123456789abcdef-0.onnx"
    for path in (old, other):
        path.write_bytes(b"old")
    built = sentence_encoder_file(embedding_model_folder(), tmp_path, "model")
    assert built.stat().st_size > 80_000_000
    assert sorted(tmp_path.iterdir()) == sorted([built, other])
