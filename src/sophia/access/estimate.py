"""The most that a request may use, before it is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sophia.inference.base import ModelCard
from sophia.nouns.usage import NANO_USD_PER_USD, Usage

BYTES_PER_TOKEN = 4
"""The usual rule of thumb for English text in UTF-8; other scripts have more bytes and more tokens a character."""
TOKENS_PER_MESSAGE = 4
"""Role and separators of a chat template."""
TOKENS_PER_IMAGE = 1_105
"""OpenAI's figure for a picture of 2048 by 4096 in high detail (vision guide): six tiles of 170 and a base of 85."""
DEFAULT_OUTPUT_TOKENS = 4_096
"""Reserved for an answer when neither the request nor the model's settings bound it."""


def text_tokens(text: str) -> int:
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return -(-size // BYTES_PER_TOKEN)


def prompt_tokens(document: Mapping[str, Any]) -> int:
    """Of a chat request: its messages, and the tools and the schema that go with them."""
    total = sum(TOKENS_PER_MESSAGE + _content_tokens(message) for message in document["messages"])
    for name in ("tools", "functions", "response_format"):
        if document.get(name):
            total += len(msgspec.json.encode(document[name])) // BYTES_PER_TOKEN
    return total


def _content_tokens(message: Mapping[str, Any]) -> int:
    content = message.get("content")
    total = 0
    if isinstance(content, str):
        total = text_tokens(content)
    elif isinstance(content, list):
        total = sum(_part_tokens(part) for part in content)
    if message.get("tool_calls"):
        total += len(msgspec.json.encode(message["tool_calls"])) // BYTES_PER_TOKEN
    return total


def _part_tokens(part: Any) -> int:
    if not isinstance(part, dict):
        return 0
    text = part.get("text")
    if isinstance(text, str):
        return text_tokens(text)
    # Pictures and sound come as URLs or in base64, whose length says nothing.
    return TOKENS_PER_IMAGE


def answer_tokens(document: Mapping[str, Any], most: int | None) -> tuple[int, bool]:
    """How many tokens all answers together may have, and whether the request itself says so. ``most``: the model's."""
    choices = document.get("n")
    each = document.get("max_completion_tokens") or document.get("max_tokens")
    named = isinstance(each, int) and each > 0
    count = each if isinstance(each, int) and each > 0 else most or DEFAULT_OUTPUT_TOKENS
    return count * (choices if isinstance(choices, int) and choices > 0 else 1), named


def input_tokens(value: Any) -> int:
    """Of what is to be embedded: a text, texts, token numbers, or lists of them."""
    if isinstance(value, str):
        return max(1, text_tokens(value))
    if not isinstance(value, Sequence):
        return 1
    if value and isinstance(value[0], int):
        return len(value)
    return sum(input_tokens(item) for item in value)


def cost_nano_usd(card: ModelCard, input_count: int, output_count: int = 0) -> int:
    read, written = card.usd_per_1k_input_tokens, card.usd_per_1k_output_tokens
    return round((input_count * read + output_count * written) * (NANO_USD_PER_USD / 1000))


def chat_usage(card: ModelCard, input_count: int, output_count: int) -> Usage:
    return Usage(
        input_tokens=input_count,
        output_tokens=output_count,
        model_calls=1,
        cost_nano_usd=cost_nano_usd(card, input_count, output_count),
    )


def embedding_usage(card: ModelCard, count: int) -> Usage:
    return Usage(embedding_tokens=count, model_calls=1, cost_nano_usd=cost_nano_usd(card, count))
