"""``/v1/embeddings``: texts whose embeddings are known are not asked for again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Send

from sophia.access.base import Ask, Grant, Hit
from sophia.access.estimate import input_tokens
from sophia.gateway import caching
from sophia.gateway.caching import Parts
from sophia.gateway.deps import Call
from sophia.gateway.errors import rate_headers
from sophia.gateway.metering import Meter, ask_embedding
from sophia.gateway.openai_forward import CHOICE_HEADERS, Forwarded, read_request, refusal, resolve
from sophia.gateway.openai_schemas import EmbeddingRequest
from sophia.gateway.streaming import send_start
from sophia.gateway.vectors import Vector, entry, read_vector, shown, vector_of
from sophia.inference.base import ModelCard
from sophia.nouns.errors import InvalidInput, UpstreamError

PATH = "/embeddings"
_Json = dict[str, Any]


async def embeddings(call: Call) -> Response:
    document, request = await read_request(call, EmbeddingRequest)
    if not request.input:
        raise InvalidInput("there is nothing to embed", field="input", mend="a text or a list of texts")
    card = resolve(call, request.model, "embedding")
    ask, parts = caching.plan_embedding(call, card, document, ask_embedding(call, card, request.input), input_tokens)
    if parts is None:
        return Forwarded(call, card, PATH, document, ask)
    return Embedded(call, card, document, ask, parts)


class Embedded(Forwarded):
    """An answer put together of what is known and what is not. It says only of the latter what it used."""

    def __init__(self, call: Call, card: ModelCard, document: _Json, ask: Ask, parts: Parts) -> None:
        super().__init__(call, card, PATH, document, ask)
        self._parts = parts
        self._format = document.get("encoding_format") or "float"

    async def _replay(self, send: Send, hit: Hit, state: str) -> None:
        vectors = [read_vector(value) for value in hit.cached]
        saved = sum(vector.nano_usd for vector in vectors)
        self._gate.count_hit(hit, saved)
        self._call.context.metrics.cached("embeddings", state, saved)
        body = {"object": "list", "model": vectors[0].model, "usage": {"prompt_tokens": 0, "total_tokens": 0}}
        await self._send(send, self._filled(body, vectors), {**rate_headers(hit.rates), caching.HEADER: state})

    async def _relay(self, send: Send, grant: Grant, meter: Meter) -> None:
        parts = self._parts
        known = [None if value is None else read_vector(value) for value in grant.cached or (None,) * len(parts.keys)]
        missing = [place for place, vector in enumerate(known) if vector is None]
        whole = len(missing) == len(parts.places)
        document = self._document if whole else {**self._document, "input": [parts.texts[place] for place in missing]}
        meter.sent = True
        reply = await self._forward(document, meter)
        try:
            content = await reply.read()
            if reply.status >= 400:
                meter.refused()
                raise refusal(self._card.provider, reply.status, reply.headers, content)
        finally:
            await reply.close()
        meter.report(content)
        headers = {**rate_headers(grant.rates), caching.HEADER: "miss"}
        headers |= {name: reply.headers[name] for name in CHOICE_HEADERS if name in reply.headers}
        kind = reply.headers.get("content-type", "application/json")
        found = _vectors(content, len(missing), meter.usage.cost_nano_usd)
        if found is not None:
            body, fresh = found
            self._learn(grant, known, missing, fresh)
        if whole:
            await self._send(send, content, headers, kind)
            return
        if found is None:
            raise UpstreamError(f"{self._card.provider} did not answer with embeddings of {len(missing)} texts")
        await self._send(send, self._filled(body, [vector for vector in known if vector is not None]), headers)

    def _learn(self, grant: Grant, known: list[Vector | None], missing: Sequence[int], fresh: list[Vector]) -> None:
        """Keep what is new, and fill it in."""
        caches = self._call.settings.caches
        self._saved = sum(vector.nano_usd for vector in known if vector is not None)
        for place, vector in zip(missing, fresh, strict=True):
            known[place] = vector
            self._entries.append(entry(self._parts.keys[place], vector, caches.embeddings_ttl_s))
        self._call.context.metrics.cached("embeddings", "miss", self._saved)

    def _filled(self, body: _Json, vectors: Sequence[Vector]) -> bytes:
        """The provider's answer with the data of all texts, in their order."""
        ready = [shown(vector, self._format) for vector in vectors]
        data = [
            {"object": "embedding", "index": index, "embedding": ready[place]}
            for index, place in enumerate(self._parts.places)
        ]
        return msgspec.json.encode({**body, "data": data})

    async def _send(self, send: Send, body: bytes, headers: dict[str, str], kind: str = "application/json") -> None:
        await send_start(send, 200, {**headers, "Content-Type": kind, "Content-Length": str(len(body))})
        await send({"type": "http.response.body", "body": body, "more_body": False})


def _vectors(content: bytes, count: int, nano_usd: int) -> tuple[_Json, list[Vector]] | None:
    """The answer without its data, and that as vectors in the order of their texts; ``None`` where it is not that."""
    try:
        body = msgspec.json.decode(content)
        rows = sorted(body.pop("data"), key=lambda row: int(row["index"]))
        model = str(body.get("model", ""))
        vectors = [vector_of(row["embedding"], model, nano_usd // max(1, count)) for row in rows]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError):
        return None
    complete = [vector for vector in vectors if vector is not None]
    if len(complete) != count or [int(row["index"]) for row in rows] != list(range(count)):
        return None
    return body, complete
