"""What one call to a model may use, and what it has used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from sophia.access import estimate
from sophia.access.base import Ask, Grant
from sophia.gateway.deps import Call
from sophia.gateway.openai_schemas import TokenUsage
from sophia.inference.base import ModelCard
from sophia.nouns.budget import TenantBudget
from sophia.nouns.usage import Usage
from sophia.settings.model import TenantSettings

_NO_TENANT = TenantSettings(budget=TenantBudget())


class _HasUsage(msgspec.Struct):
    usage: TokenUsage | None = None


_usage_in = msgspec.json.Decoder(_HasUsage)


def ask_chat(call: Call, card: ModelCard, document: Mapping[str, Any]) -> tuple[Ask, bool]:
    """The ask of a chat request, and whether the request itself bounds its answer."""
    model = call.settings.models.get(card.id)
    written, named = estimate.answer_tokens(document, model.max_output_tokens if model else None)
    return _ask(call, card, estimate.prompt_tokens(document), written), named


def ask_embedding(call: Call, card: ModelCard, texts: Any) -> Ask:
    return _ask(call, card, estimate.input_tokens(texts), 0)


def _ask(call: Call, card: ModelCard, read: int, written: int) -> Ask:
    holder = call.holder
    return Ask(
        tenant=holder.tenant,
        key=holder.key,
        model=card.id,
        provider=card.provider,
        input_tokens=read,
        output_tokens=written,
        input_nano_usd=estimate.cost_nano_usd(card, read),
        nano_usd=estimate.cost_nano_usd(card, read, written),
        limits=holder.limits,
        budget=call.settings.tenants.get(holder.tenant, _NO_TENANT).budget,
    )


class Meter:
    """Knows what a call has used at any moment: what its provider reported, else what was sent and what has come."""

    def __init__(self, card: ModelCard, ask: Ask, grant: Grant) -> None:
        self._card = card
        self._embeds = card.kind == "embedding"
        # Of texts, only those that the cache does not know are sent.
        self._sends = grant.tokens if self._embeds else ask.input_tokens
        self._reported: TokenUsage | None = None
        self.sent = False
        """The provider has it: it may cost something."""
        self.pieces = 0
        """Streamed events, about a token each."""

    def refused(self) -> None:
        """The provider made nothing of it."""
        self.sent = False

    def report(self, body: bytes) -> bool:
        """Take what a body or an event says about usage; whether it says anything."""
        try:
            usage = _usage_in.decode(body).usage
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False
        if usage is not None:
            self._reported = usage
        return usage is not None

    @property
    def reported(self) -> bool:
        return self._reported is not None

    @property
    def usage(self) -> Usage:
        if self._reported is not None:
            read, written = self._reported.prompt_tokens, self._reported.completion_tokens
        elif self.sent:
            read, written = self._sends, self.pieces
        else:
            return Usage()
        if self._embeds:
            return estimate.embedding_usage(self._card, read)
        return estimate.chat_usage(self._card, read, written)
