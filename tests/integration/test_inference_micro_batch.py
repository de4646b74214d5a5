"""Concurrent embedding calls in shared batches, on the real engine; and the folder that keeps built graphs."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from sophia.app import build
from sophia.inference.engine import OutOfMemory, Vectors
from sophia.inference.micro_batch import BatchingEmbedder
from sophia.inference.onnx_cache import sentence_encoder_file
from sophia.inference.onnx_embedder import OnnxEmbedder, packaged_embedder
from sophia.inference.packaged import embedding_model_folder
from sophia.inference.sentence_model import read_sentence_model
from sophia.nouns.errors import ConfigError, InvalidInput, StorageFull, Unavailable
from sophia.settings.load import merged_settings
from sophia.settings.resolve import resolve
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


class Faulty:
    """The real engine, but for the batches that ``fault`` objects to."""

    def __init__(self, engine: OnnxEmbedder, fault: Callable[[Sequence[Sequence[int]]], Exception | None]) -> None:
        self.model, self.dimensions = engine.model, engine.dimensions
        self.batch_tokens, self.parallel = engine.batch_tokens, 2
        self.encode, self.close = engine.encode, engine.close
        self._engine, self._fault = engine, fault

    async def run(self, rows: Sequence[Sequence[int]]) -> Vectors:
        error = self._fault(rows)
        if error is not None:
            raise error
        return await self._engine.run(rows)


async def test_a_lack_of_memory_makes_batches_smaller(engine: OnnxEmbedder):
    sizes: list[int] = []

    def fault(rows: Sequence[Sequence[int]]) -> Exception | None:
        sizes.append(len(rows) * max(map(len, rows)))
        return OutOfMemory("full") if sizes[-1] > 260 else None

    embedder = BatchingEmbedder(Faulty(engine, fault))
    running = asyncio.create_task(embedder.run())
    texts = [f"{word} " * count for count in (2, 60, 120, 250) for word in ("one", "two", "three")]
    found = await embedder.embed(texts)
    assert np.allclose(found.vectors, (await engine.embed(texts)).vectors, atol=1e-5)
    assert max(sizes) > 260 > sizes[-1]
    assert len([size for size in sizes if size > 260]) <= 3
    running.cancel()


async def test_a_process_whose_memory_really_ends_goes_on_in_smaller_batches(embedding_cache: Path):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.scarce_memory", str(embedding_cache), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0
    found = json.loads(out)
    assert sum(found["sizes"]) == 31
    assert max(found["sizes"]) < 30
    assert found["cosine"] > 0.9999


async def test_a_text_that_never_fits_fails_alone(engine: OnnxEmbedder):
    def fault(rows: Sequence[Sequence[int]]) -> Exception | None:
        return OutOfMemory("full") if max(map(len, rows)) > 200 else None

    embedder = BatchingEmbedder(Faulty(engine, fault))
    running = asyncio.create_task(embedder.run())
    outcomes = await asyncio.gather(
        *(embedder.embed([text]) for text in ("word " * 150, "word " * 220, "word " * 180)), return_exceptions=True
    )
    assert [type(outcome).__name__ for outcome in outcomes] == ["EmbeddingAnswer", "OutOfMemory", "EmbeddingAnswer"]
    running.cancel()


async def test_who_fails_in_company_does_not_take_his_neighbours_along(engine: OnnxEmbedder):
    (poison,) = await engine.encode(["poison pill"])

    def fault(rows: Sequence[Sequence[int]]) -> Exception | None:
        return ValueError("bad row") if any(list(row) == list(poison.ids) for row in rows) else None

    embedder = BatchingEmbedder(Faulty(engine, fault), max_wait_s=0.5)
    running = asyncio.create_task(embedder.run())
    texts = ["good text", "poison pill", "other text", "third text"]
    outcomes = await asyncio.gather(*(embedder.embed([text]) for text in texts), return_exceptions=True)
    assert [type(outcome).__name__ for outcome in outcomes] == [
        "EmbeddingAnswer",
        "ValueError",
        "EmbeddingAnswer",
        "EmbeddingAnswer",
    ]
    running.cancel()


async def test_texts_of_a_cancelled_call_do_not_go_through_the_model(engine: OnnxEmbedder):
    seen: list[int] = []

    def fault(rows: Sequence[Sequence[int]]) -> Exception | None:
        seen.extend(len(row) for row in rows)
        return None

    embedder = BatchingEmbedder(Faulty(engine, fault), max_wait_s=30)
    running = asyncio.create_task(embedder.run())
    cancelled = asyncio.create_task(embedder.embed(["word " * 20]))
    kept = asyncio.create_task(embedder.embed(["short"]))
    await eventually(lambda: embedder.waiting == 2)
    cancelled.cancel()
    await eventually(lambda: embedder.waiting == 1)
    filling = asyncio.create_task(embedder.embed(["word " * 250] * 3))
    assert (await kept).usage.embedding_tokens == 3
    assert 22 not in seen
    await filling
    running.cancel()


async def test_tasks_of_one_worker_share_batches(
    tmp_path: Path, embedding_cache: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "models").symlink_to(embedding_cache)
    environ = {"SOPHIA_PROFILE": "local"}
    loaded = resolve(merged_settings(None, environ), environ, config_path=None, data_dir=tmp_path)
    passes: list[int] = []
    run = OnnxEmbedder.run

    async def counted(self: OnnxEmbedder, rows: Sequence[Sequence[int]]) -> Vectors:
        passes.append(len(rows))
        return await run(self, rows)

    monkeypatch.setattr(OnnxEmbedder, "run", counted)
    async with build.models(loaded, loaded.settings.pools["embedding"]) as models:
        card = models.resolve(None, kind="embedding")
        texts = ["one", "a second text", "six", "seven is longer"]
        answers = await asyncio.gather(*(models.embed(card, [text]) for text in texts))
        together = await models.embed(card, texts)
    assert len(passes) < len(texts) + 1
    assert sum(passes) == 2 * len(texts)
    assert np.allclose(np.concatenate([answer.vectors for answer in answers]), together.vectors, atol=1e-5)


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
        sentence_encoder_file(read_sentence_model(embedding_model_folder()), tmp_path, "model")
    assert list(tmp_path.iterdir()) == []


def test_graphs_of_other_versions_are_removed(tmp_path: Path):
    old = tmp_path / "model-float-0123456789abcdef-0.onnx"
    other = tmp_path / "another-0123456789abcdef-0.onnx"
    for path in (old, other):
        path.write_bytes(b"old")
    built = sentence_encoder_file(read_sentence_model(embedding_model_folder()), tmp_path, "model")
    assert built.stat().st_size > 80_000_000
    assert sorted(tmp_path.iterdir()) == sorted([built, other])
