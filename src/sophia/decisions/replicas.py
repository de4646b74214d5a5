"""Which replica of a model takes a call: the one whose cache most likely holds the call's beginning, unless it is busy."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

IMBALANCE = 1.25
"""A replica may have that much more than the mean before calls that belong to it go elsewhere."""
SLACK_TOKENS = 4096
"""Below so many outstanding tokens nothing is busy."""
LONG_PROMPT_CHARACTERS = 2000
CHARACTERS_PER_TOKEN = 4
ANSWER_TOKENS = 256
"""Of a request that names no number."""


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    outstanding_tokens: int


def choose(replicas: Sequence[Replica], affinity: str, cost_tokens: int) -> str | None:
    """The first in the affinity's own order that stays within bounds with this call, else the least loaded.

    The order is by rendezvous hashing (Thaler and Ravishankar, 1998): when a replica comes or goes, only what belongs to
    it moves. The bound is that of consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam, 2016).
    ``affinity`` empty: the least loaded.
    """
    if not replicas:
        return None
    if len(replicas) == 1:
        return replicas[0].id
    least = min(replicas, key=lambda replica: (replica.outstanding_tokens, _score(affinity, replica.id)))
    if not affinity:
        return least.id
    total = sum(replica.outstanding_tokens for replica in replicas) + cost_tokens
    bound = max(SLACK_TOKENS, IMBALANCE * total / len(replicas))
    within = [replica for replica in replicas if replica.outstanding_tokens + cost_tokens <= bound]
    if not within:
        return least.id
    return max(within, key=lambda replica: _score(affinity, replica.id)).id


def _score(affinity: str, replica: str) -> bytes:
    return hashlib.blake2b(f"{affinity}\0{replica}".encode("utf-8", "surrogatepass"), digest_size=8).digest()


def affinity_of(body: Mapping[str, Any]) -> str:
    """What calls that share a beginning have in common: a long system prompt, else the system prompt and the first
    message of the conversation; a ``prompt_cache_key`` (OpenAI's) says it outright. Empty where there is none."""
    key = body.get("prompt_cache_key")
    if isinstance(key, str) and key:
        return key
    system, first = "", ""
    for message in body.get("messages") or ():
        if not isinstance(message, Mapping):
            continue
        if message.get("role") in ("system", "developer"):
            system += _text(message.get("content"))
        else:
            first = _text(message.get("content"))
            break
    return system if len(system) >= max(LONG_PROMPT_CHARACTERS, len(first)) else system + "\0" + first


def cost_tokens(body: Mapping[str, Any]) -> int:
    """A guess at the tokens that a call keeps its replica busy with."""
    characters = sum(
        len(_text(message.get("content"))) for message in body.get("messages") or () if isinstance(message, Mapping)
    )
    asked = body.get("max_completion_tokens") or body.get("max_tokens")
    return characters // CHARACTERS_PER_TOKEN + (asked if isinstance(asked, int) else ANSWER_TOKENS)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    return "".join(part["text"] for part in parts if isinstance(part, Mapping) and isinstance(part.get("text"), str))
