"""OpenAI's Batch API on the whole platform: its unmodified client, both local models, and kills in the middle."""

from __future__ import annotations

import openai
import pytest

from tests.support.batching import chat_line, embedding_line, ended, jsonl, lines_of, make_batch
from tests.support.platform import Platform
from tests.support.waiting import eventually


@pytest.mark.long
async def test_batches_survive_the_killing_of_worker_and_gateway(running_platform: Platform) -> None:
    platform = running_platform
    lines = [chat_line(f"chat {n}", f"Say {n}.", temperature=0, max_tokens=4) for n in range(34)]
    texts = [embedding_line(f"text {n}", f"sentence number {n}", encoding_format="float") for n in range(100)]
    async with openai.AsyncOpenAI(base_url=f"{platform.url}/v1", api_key=platform.api_key) as client:
        chat = await make_batch(client, jsonl(lines), "/v1/chat/completions")
        embedding = await make_batch(client, jsonl(texts), "/v1/embeddings")

        async def runs() -> bool:
            stats = await client.get("/queue", cast_to=dict[str, object])
            return any(entry["stream"] == "stream:batch" and entry["running"] for entry in stats["streams"])  # type: ignore[attr-defined]

        await eventually(runs, 60)
        for role in ("worker", "gateway"):
            for process in platform.processes().get(role, []):
                process.kill()
        done_chat, done_embedding = await ended(client, chat, 240), await ended(client, embedding, 120)
        assert (done_chat.status, done_embedding.status) == ("completed", "completed")
        answers = await lines_of(client, done_chat.output_file_id)
        assert [line["custom_id"] for line in answers] == [f"chat {n}" for n in range(34)]
        for line in answers:
            assert line["response"]["body"]["object"] == "chat.completion"
            assert line["response"]["body"]["choices"][0]["message"]["role"] == "assistant"
        assert done_chat.usage is not None
        used = sum(line["response"]["body"]["usage"]["total_tokens"] for line in answers)
        assert done_chat.usage.total_tokens == used
        vectors = await lines_of(client, done_embedding.output_file_id)
        assert [line["custom_id"] for line in vectors] == [f"text {n}" for n in range(100)]
        direct = await client.embeddings.create(model="all-minilm-l6-v2", input="sentence number 7")
        batched = vectors[7]["response"]["body"]["data"][0]["embedding"]
        assert max(abs(a - b) for a, b in zip(direct.data[0].embedding, batched, strict=True)) < 1e-4
        assert (done_chat.error_file_id, done_embedding.error_file_id) == (None, None)
