"""``/v1/chat/completions``."""

from __future__ import annotations

from starlette.responses import Response

from sophia.gateway.deps import Call
from sophia.gateway.openai_forward import Forwarded, read_request, resolve
from sophia.gateway.openai_schemas import ChatRequest, TokenUsage


async def chat_completions(call: Call) -> Response:
    document, request = await read_request(call, ChatRequest)
    card = resolve(call, request.model, "chat")

    def count(usage: TokenUsage) -> None:
        call.context.metrics.chat(card.id, usage.prompt_tokens, usage.completion_tokens)

    return Forwarded(call, card, "/chat/completions", document, count)
