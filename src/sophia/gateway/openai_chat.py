"""``/v1/chat/completions``."""

from __future__ import annotations

from starlette.responses import Response

from sophia.gateway.caching import plan_chat
from sophia.gateway.deps import Call
from sophia.gateway.metering import ask_chat
from sophia.gateway.openai_forward import Forwarded, read_request, resolve
from sophia.gateway.openai_schemas import ChatRequest


async def chat_completions(call: Call) -> Response:
    document, request = await read_request(call, ChatRequest)
    card = resolve(call, request.model, "chat")
    ask, bounded = ask_chat(call, card, document)
    ask, plan = plan_chat(call, card, document, ask)
    return Forwarded(call, card, "/chat/completions", document, ask, bounded=bounded, plan=plan)
