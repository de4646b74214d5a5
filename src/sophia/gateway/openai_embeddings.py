"""``/v1/embeddings``."""

from __future__ import annotations

from starlette.responses import Response

from sophia.gateway.deps import Call
from sophia.gateway.openai_forward import Forwarded, read_request, resolve
from sophia.gateway.openai_schemas import EmbeddingRequest, TokenUsage
from sophia.nouns.errors import InvalidInput


async def embeddings(call: Call) -> Response:
    document, request = await read_request(call, EmbeddingRequest)
    if not request.input:
        raise InvalidInput("there is nothing to embed", field="input", mend="a text or a list of texts")
    card = resolve(call, request.model, "embedding")

    def count(usage: TokenUsage) -> None:
        call.context.metrics.embedding_tokens.labels(card.id).inc(usage.prompt_tokens)

    return Forwarded(call, card, "/embeddings", document, count)
