"""``/v1/embeddings``."""

from __future__ import annotations

from starlette.responses import Response

from sophia.gateway.deps import Call
from sophia.gateway.metering import ask_embedding
from sophia.gateway.openai_forward import Forwarded, read_request, resolve
from sophia.gateway.openai_schemas import EmbeddingRequest
from sophia.nouns.errors import InvalidInput


async def embeddings(call: Call) -> Response:
    document, request = await read_request(call, EmbeddingRequest)
    if not request.input:
        raise InvalidInput("there is nothing to embed", field="input", mend="a text or a list of texts")
    card = resolve(call, request.model, "embedding")
    return Forwarded(call, card, "/embeddings", document, ask_embedding(call, card, request.input))
