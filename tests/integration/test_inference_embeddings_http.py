"""The embedding server over HTTP: OpenAI's own client, its errors, shared batches, and the directory as its client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import numpy as np
import openai
import pytest
import pytest_asyncio

from sophia.inference.directory import ModelDirectory
from sophia.nouns.errors import InvalidInput

MODEL = "all-minilm-l6-v2"
TEXTS = ["The capital of France is Paris.", "Paris is the capital of France.", "I love my dog."]


@pytest_asyncio.fixture
async def session(embedding_server_url: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(embedding_server_url.removesuffix("v1")) as opened:
        yield opened


async def post(session: aiohttp.ClientSession, body: Any) -> tuple[int, Any]:
    async with session.post("v1/embeddings", json=body) as answer:
        return answer.status, await answer.json()


async def test_openais_client_gets_vectors(embedding_server_url: str):
    async with openai.AsyncOpenAI(base_url=embedding_server_url, api_key="none") as client:
        # The client asks for base64 and decodes it, unless told otherwise.
        coded = await client.embeddings.create(model=MODEL, input=TEXTS)
        plain = await client.embeddings.create(model=MODEL, input=TEXTS, encoding_format="float")
        models = await client.models.list()
    assert [model.id for model in models.data] == [MODEL]
    assert [row.index for row in plain.data] == [0, 1, 2]
    assert coded.usage.prompt_tokens == coded.usage.total_tokens > 15
    a, b, c = (np.array(row.embedding) for row in plain.data)
    assert a @ b > 0.9 > 0.2 > a @ c
    assert np.allclose([row.embedding for row in coded.data], [a, b, c], atol=1e-5)


@pytest.mark.parametrize(
    ("body", "status", "param", "word"),
    [
        ({"model": MODEL, "input": [[1, 2, 3]]}, 400, "input", "token ids"),
        ({"model": MODEL, "input": [1, 2, 3]}, 400, "input", "token ids"),
        ({"model": MODEL, "input": []}, 400, "input", "nothing to embed"),
        ({"model": MODEL, "input": ["a", None]}, 400, "input[1]", "not a string"),
        ({"model": MODEL, "input": ["a"] * 2049}, 400, "input", "2049"),
        ({"model": MODEL, "input": "a", "dimensions": 100}, 400, "dimensions", "384"),
        ({"model": MODEL, "input": "a", "encoding_format": "int8"}, 400, "encoding_format", "base64"),
        ({"model": "ada", "input": "a"}, 404, "model", MODEL),
        ({"model": MODEL}, 400, None, "input"),
    ],
)
async def test_errors_have_openais_shape(
    session: aiohttp.ClientSession, body: Any, status: int, param: str | None, word: str
):
    found, document = await post(session, body)
    assert found == status
    assert document["error"]["type"] == "invalid_request_error"
    assert document["error"]["param"] == param
    assert word in document["error"]["message"]


async def test_not_json_unknown_path_and_wrong_method(session: aiohttp.ClientSession):
    async with session.post("v1/embeddings", data=b"{") as answer:
        assert answer.status == 400
        assert "error" in await answer.json()
    async with session.get("v1/nothing") as answer:
        assert answer.status == 404
        assert (await answer.json())["error"]["code"] == "not_found"
    async with session.get("v1/embeddings") as answer:
        assert answer.status == 405


async def test_its_own_size_may_be_asked_for(session: aiohttp.ClientSession):
    status, document = await post(session, {"model": MODEL, "input": "a", "dimensions": 384})
    assert status == 200
    assert len(document["data"][0]["embedding"]) == 384


async def test_concurrent_requests_share_batches(session: aiohttp.ClientSession):
    before = await passes(session)
    answers = await asyncio.gather(*(post(session, {"model": MODEL, "input": TEXTS[i % 3]}) for i in range(24)))
    assert [status for status, _ in answers] == [200] * 24
    for number, (_, document) in enumerate(answers):
        assert np.allclose(document["data"][0]["embedding"], answers[number % 3][1]["data"][0]["embedding"], atol=1e-5)
    assert await passes(session) - before < 24


async def test_metrics_count_tokens(session: aiohttp.ClientSession):
    before = await metric(session, f'embedding_tokens_total{{model="{MODEL}"}}')
    _, document = await post(session, {"model": MODEL, "input": "hello"})
    assert document["usage"]["total_tokens"] == 3
    assert await metric(session, f'embedding_tokens_total{{model="{MODEL}"}}') - before == 3


async def test_directory_embeds_over_http(models: ModelDirectory):
    card = models.resolve(None, kind="embedding")
    assert card.id == MODEL
    answer = await models.embed(card, [*TEXTS, "word " * 300])
    assert answer.vectors.shape == (4, 384)
    assert answer.vectors.dtype == np.float32
    assert answer.truncated == 1
    assert answer.usage.embedding_tokens > 256
    assert answer.usage.model_calls == 1
    assert answer.vectors[0] @ answer.vectors[1] > 0.9
    with pytest.raises(InvalidInput):
        await models.embed(card, [])


async def passes(session: aiohttp.ClientSession) -> float:
    return await metric(session, "embedding_batch_texts_count")


async def metric(session: aiohttp.ClientSession, name: str) -> float:
    async with session.get("metrics") as answer:
        lines = (await answer.text()).splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)), 0.0)
