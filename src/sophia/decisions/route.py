"""Which stream a task goes to, and why."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sophia.nouns.payloads import BatchEmbedding
from sophia.nouns.task import Route, Tier
from sophia.settings.model import RouteRule

CHARACTERS_PER_TOKEN = 4
"""Rule of thumb for English and code; routing needs the order of magnitude only."""


def estimated_tokens(payload: msgspec.Struct) -> int:
    """Tokens a request will roughly take: its texts, and what it allows the answer when it says so."""
    characters = 0
    for name in ("goal", "prompt", "question", "context", "system"):
        characters += len(getattr(payload, name, "") or "")
    return -(-characters // CHARACTERS_PER_TOKEN) + (getattr(payload, "max_tokens", None) or 0)


def route(*, type: str, tier: Tier, payload: msgspec.Struct, rules: Sequence[RouteRule]) -> Route:
    """The first rule that holds. The last rule of a valid configuration always holds (``settings`` checks it).

    Raises ``LookupError`` when none does.
    """
    tokens = estimated_tokens(payload)
    texts = len(payload.texts) if isinstance(payload, BatchEmbedding) else 0
    for rule in rules:
        reason = _reason(rule, type, tier, tokens, texts)
        if reason is not None:
            return Route(stream=rule.stream, target=rule.target, reason=reason)
    raise LookupError(f"no routing rule holds for type {type!r} and tier {tier.value!r}")


def _reason(rule: RouteRule, type: str, tier: Tier, tokens: int, texts: int) -> str | None:
    """Why the rule holds, in words; ``None`` when it does not. ``types`` and ``tiers`` of one rule are alternatives."""
    reasons = []
    if rule.types or rule.tiers:
        if type in rule.types:
            reasons.append(f"type is {type}")
        elif tier in rule.tiers:
            reasons.append(f"tier is {tier.value}")
        else:
            return None
    if rule.min_tokens is not None:
        if tokens <= rule.min_tokens:
            return None
        reasons.append(f"about {tokens:,} tokens, more than {rule.min_tokens:,}")
    if rule.min_texts is not None:
        if texts <= rule.min_texts:
            return None
        reasons.append(f"{texts:,} texts, more than {rule.min_texts:,}")
    return " and ".join(reasons) or "no other rule applies"
