"""``light``: a prompt, answered as it streams."""

from __future__ import annotations

from typing import Any

from sophia.nouns.payloads import Light, LightAnswer
from sophia.worker.context import TaskContext


async def run(context: TaskContext, payload: Light) -> LightAnswer:
    """The model's answer as it is; ``finish_reason`` is ``length`` when it was cut at ``max_tokens``."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": payload.prompt}]
    if payload.system:
        messages.insert(0, {"role": "system", "content": payload.system})
    answer = await context.chat(
        messages, model=payload.model, max_tokens=payload.max_tokens, temperature=payload.temperature
    )
    return LightAnswer(text=answer.text, finish_reason=answer.finish_reason, model=answer.model)
