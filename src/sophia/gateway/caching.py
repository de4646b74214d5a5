"""Which answers may come from the cache, under which names, and what they look like there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from sophia.access.base import Ask, CacheAsk, Entry
from sophia.access.estimate import cost_nano_usd
from sophia.gateway.deps import Call
from sophia.inference.base import ModelCard

HEADER = "x-sophia-cache"
_NO_MATTER = frozenset({"user", "metadata", "store", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"})
"""Parameters of OpenAI's that change no answer."""
_DIGEST_BYTES = 20
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


class Directives(msgspec.Struct, frozen=True):
    """Of a request's ``Cache-Control`` (RFC 9111, 5.2.1)."""

    no_store: bool = False
    no_cache: bool = False
    max_age_s: int | None = None


def directives(header: str | None) -> Directives:
    """What is not understood has no effect."""
    if not header:
        return Directives()
    words = [word.strip().lower() for word in header.split(",")]
    ages = [word[8:].strip('"') for word in words if word.startswith("max-age=")]
    max_age_s = next((int(age[:10]) for age in ages if age.isascii() and age.isdecimal()), None)
    return Directives("no-store" in words, "no-cache" in words or max_age_s == 0, max_age_s)


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """A whole answer: its pieces as they were sent, and what it cost."""

    kind: str
    nano_usd: int
    pieces: list[bytes]


class CachePlan(msgspec.Struct, frozen=True):
    """Where an answer is to be kept."""

    key: str
    ttl_s: float
    max_bytes: int

    def entry(self, kept: Kept) -> Entry | None:
        value = msgspec.msgpack.encode(kept)
        return Entry(self.key, value, self.ttl_s) if len(value) <= self.max_bytes else None


def read_kept(value: bytes) -> Kept:
    return msgspec.msgpack.decode(value, type=Kept)


def digest(*parts: bytes) -> str:
    summed = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        summed.update(len(part).to_bytes(8, "little"))
        summed.update(part)
    return summed.hexdigest()


def plan_chat(call: Call, card: ModelCard, document: Mapping[str, Any], ask: Ask) -> tuple[Ask, CachePlan | None]:
    """``settings.caches.chat`` says which requests are meant; ``Cache-Control`` says otherwise for one."""
    caches = call.settings.caches
    if caches.chat == "off" or not _may_be_kept(call):
        return ask, None
    said = directives(call.request.headers.get("cache-control"))
    same_again = document.get("temperature") == 0 or document.get("seed") is not None
    wanted = said.max_age_s is not None or (caches.chat == "deterministic" and same_again)
    if said.no_store or not wanted:
        return ask, None
    identity = {name: value for name, value in document.items() if name not in _NO_MATTER and name != "model"}
    key = f"{ask.tenant}:{digest(b'chat', _revision(card), _encode_sorted(identity))}"
    plan = CachePlan(key, caches.inference_ttl_s, caches.max_entry_bytes)
    if said.no_cache:
        return ask, plan
    cache = CacheAsk(
        keys=(key,),
        tokens=(ask.tokens,),
        nano_usd=(ask.nano_usd,),
        flight=key,
        lead_s=caches.wait_s,
        oldest_ms=oldest_ms(call, said),
    )
    return replace(ask, cache=cache), plan


class Parts(msgspec.Struct, frozen=True):
    """The texts of an embedding request, each once, and where each of the request's stands among them."""

    texts: list[Any]
    places: list[int]
    keys: tuple[str, ...]
    reads: bool
    """Whether what is there may be used."""


MAX_PARTS = 2_048
"""OpenAI's own bound on the texts of a request; what has more is not looked up."""


def plan_embedding(
    call: Call, card: ModelCard, document: Mapping[str, Any], ask: Ask, tokens_of: Any
) -> tuple[Ask, Parts | None]:
    caches = call.settings.caches
    said = directives(call.request.headers.get("cache-control"))
    given = _texts(document["input"])
    if not caches.embeddings or not _may_be_kept(call) or said.no_store or not 0 < len(given) <= MAX_PARTS:
        return ask, None
    apart = ("input", "model", "encoding_format", *_NO_MATTER)
    identity = _encode_sorted({name: value for name, value in document.items() if name not in apart})
    revision = _revision(card)
    unique: dict[str, int] = {}
    texts: list[Any] = []
    places = []
    for text in given:
        content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else msgspec.json.encode(text)
        kind = b"text" if isinstance(text, str) else b"tokens"
        key = f"{ask.tenant}:{digest(b'embedding', revision, identity, kind, content)}"
        place = unique.setdefault(key, len(texts))
        if place == len(texts):
            texts.append(text)
        places.append(place)
    keys = tuple(unique)
    parts = Parts(texts, places, keys, not said.no_cache)
    if said.no_cache:
        return ask, parts
    tokens = tuple(tokens_of(text) for text in texts)
    cache = CacheAsk(
        keys=keys,
        tokens=tokens,
        nano_usd=tuple(cost_nano_usd(card, count) for count in tokens),
        flight=f"{ask.tenant}:{digest(*(key.encode() for key in keys))}",
        lead_s=caches.wait_s,
        oldest_ms=oldest_ms(call, said),
    )
    return replace(ask, cache=cache), parts


def _may_be_kept(call: Call) -> bool:
    tenant = call.settings.tenants.get(call.tenant)
    return tenant is None or tenant.cache


def oldest_ms(call: Call, said: Directives) -> int:
    return 0 if said.max_age_s is None else call.deps.clock.now_ms() - said.max_age_s * 1000


def _texts(given: Any) -> list[Any]:
    """A list of token numbers is one text."""
    if isinstance(given, str) or (isinstance(given, list) and given and isinstance(given[0], int)):
        return [given]
    return given if isinstance(given, list) else []


def _revision(card: ModelCard) -> bytes:
    return f"{card.id}\n{card.provider}\n{card.upstream_model}\n{card.dimensions}".encode()
