"""Any sentence-transformers layout on every engine: each pooling, with and without normalization, prompts, lengths; int8.

``make test`` runs it on ONNX Runtime, ``make test-torch`` on torch as well (``EMBEDDING_ENGINES=onnx,torch``).
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sophia.inference.micro_batch import BatchingEmbedder
from sophia.inference.onnx_embedder import OnnxEmbedder, onnx_embedder
from sophia.inference.sentence_model import PoolingMode, read_sentence_model
from sophia.nouns.errors import ConfigError, InvalidInput
from tests.support.tiny_encoder import WORDS, TinyEncoder

TEXTS = ["w1", " ".join(WORDS[3:20]), "w7 w8 unknown w9", "", " ".join(WORDS[40:55]), "w3 w2 w1"]


Opened = Callable[..., Any]


@pytest.fixture(params=os.environ.get("EMBEDDING_ENGINES", "onnx").split(","))
def opened(request: pytest.FixtureRequest) -> Opened:
    if request.param == "onnx":
        return onnx_opened

    from sophia.inference.torch_embedder import torch_embedder

    return lambda encoder, cache, **options: torch_embedder(encoder.folder, model="tiny", max_tokens=512, **options)


def onnx_opened(encoder: TinyEncoder, cache: Path, **options: Any) -> OnnxEmbedder:
    return onnx_embedder(encoder.folder, cache, model="tiny", max_tokens=512, threads=2, **options)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("pooling", list(PoolingMode))
async def test_every_pooling_gives_the_vectors_of_its_formula(
    opened: Opened, tmp_path: Path, pooling: str, normalize: bool
):
    encoder = TinyEncoder(tmp_path / "model", pooling=pooling, normalize=normalize)
    engine = opened(encoder, tmp_path / "cache")
    answer = await engine.embed(TEXTS)
    await engine.close()
    assert np.allclose(answer.vectors, encoder.vectors(TEXTS), atol=2e-5)


async def test_positions_of_roberta_prompts_and_cut_texts(opened: Opened, tmp_path: Path):
    encoder = TinyEncoder(tmp_path / "model", pooling="mean", normalize=True, model_type="xlm-roberta", prompt="w5 w6 ")
    engine = opened(encoder, tmp_path / "cache")
    answer = await engine.embed([*TEXTS, " ".join(WORDS)])
    await engine.close()
    assert answer.truncated == 1
    assert answer.usage.embedding_tokens <= 24 * (len(TEXTS) + 1)
    assert np.allclose(answer.vectors[:-1], encoder.vectors(TEXTS), atol=2e-5)


async def test_longer_texts_are_refused_where_that_is_asked_for(opened: Opened, tmp_path: Path):
    encoder = TinyEncoder(tmp_path / "model", pooling="cls", normalize=True)
    engine = opened(encoder, tmp_path / "cache", refuse_longer=True)
    assert (await engine.embed(["w1 " * 22])).truncated == 0
    with pytest.raises(InvalidInput, match="2 of the texts are longer than 24 tokens") as raised:
        await engine.embed(["w1", "w1 " * 23, "w2", "w1 " * 30])
    assert raised.value.field == "texts[1]"
    await engine.close()


async def test_one_batch_or_many_give_the_same_vectors(opened: Opened, tmp_path: Path):
    encoder = TinyEncoder(tmp_path / "model", pooling="mean", normalize=True)
    engine = opened(encoder, tmp_path / "cache", batch_tokens=24)
    embedder = BatchingEmbedder(engine)
    running = asyncio.create_task(embedder.run())
    answers = await asyncio.gather(*(embedder.embed(TEXTS[start:]) for start in range(len(TEXTS))))
    for start, answer in enumerate(answers):
        assert np.allclose(answer.vectors, encoder.vectors(TEXTS[start:]), atol=2e-5)
    running.cancel()
    await engine.close()


async def test_int8_stays_close_and_has_a_file_of_its_own(tmp_path: Path):
    encoder = TinyEncoder(tmp_path / "model", pooling="mean", normalize=True)
    for int8 in (False, True):
        engine = onnx_opened(encoder, tmp_path / "cache", int8=int8)
        answer = await engine.embed(TEXTS)
        await engine.close()
        cosines = (answer.vectors * encoder.vectors(TEXTS)).sum(axis=1)
        assert cosines.min() > (0.995 if int8 else 0.99999)
    assert len(list((tmp_path / "cache").iterdir())) == 2


@pytest.mark.parametrize(
    ("file", "document", "words"),
    [
        ("modules.json", [{"type": "sentence_transformers.models.CLIPModel"}], "CLIPModel are not supported"),
        ("1_Pooling/config.json", {"pooling_mode_mean_sqrt_len_tokens": True}, "mean_sqrt_len is not supported"),
        (
            "1_Pooling/config.json",
            {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
            "mean and cls is not supported",
        ),
        ("sentence_bert_config.json", {"do_lower_case": True}, "do_lower_case"),
        ("config.json", {"model_type": "bert"}, "cannot read .*config.json"),
    ],
)
def test_what_is_not_supported_is_named(tmp_path: Path, file: str, document: Any, words: str):
    TinyEncoder(tmp_path, pooling="mean", normalize=True)
    (tmp_path / file).write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=words):
        read_sentence_model(tmp_path)


def test_a_folder_without_a_model_is_a_clear_error(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"modules\.json is missing"):
        read_sentence_model(tmp_path)
