"""The embedded embedding server: OpenAI's ``/v1/embeddings`` over an engine of this process."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import uvicorn
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sophia.inference.base import Embedder, EmbeddingAnswer
from sophia.inference.engine import Engine
from sophia.inference.micro_batch import MAX_WAIT_S, BatchingEmbedder
from sophia.nouns.errors import InvalidInput, NotFound, PayloadTooLarge, SophiaError, Unavailable
from sophia.sockets import bind, port_of

_log = logging.getLogger(__name__)

MAX_TEXTS = 2_048
"""OpenAI's own bound on one request."""
MAX_BODY_BYTES = 32 * 1024 * 1024
SHUTDOWN_GRACE_S = 5


class EmbeddingMetrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Histogram(
            "http_request_duration_seconds",
            "Time from a request's arrival to its answer.",
            ("route", "status"),
            registry=self.registry,
        )
        self.tokens = Counter(
            "embedding_tokens_total", "Tokens embedded, padding not counted.", ("model",), registry=self.registry
        )
        self.batches = Histogram(
            "embedding_batch_texts",
            "Texts in one pass through the model.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
            registry=self.registry,
        )
        self.truncated = Counter(
            "embedding_truncated_texts_total", "Texts cut at the model's length.", registry=self.registry
        )


class EmbeddingRequest(msgspec.Struct, frozen=True):
    """The request's known fields; others are passed over, as OpenAI's servers do with those of newer clients."""

    input: Any
    model: str
    encoding_format: str = "float"
    dimensions: int | None = None


def create_app(embedder: Embedder, metrics: EmbeddingMetrics | None = None) -> Starlette:
    """An ASGI application over any ``Embedder``. Errors have OpenAI's shape."""
    api = _Api(embedder, metrics or EmbeddingMetrics())
    return Starlette(
        routes=[
            Route("/v1/embeddings", api.embeddings, methods=["POST"]),
            Route("/v1/models", api.models),
            Route("/health", api.health),
            Route("/metrics", api.metrics),
        ],
        exception_handlers={HTTPException: _http_error, Exception: _unexpected},
    )


async def serve(host: str, port: int, engine: Engine, stop: asyncio.Event, *, max_wait_s: float = MAX_WAIT_S) -> None:
    """Serve until ``stop`` is set, then let running requests end within ``SHUTDOWN_GRACE_S``. Closes ``engine``.

    Raises ``ConfigError`` when the address cannot be bound.
    """
    metrics = EmbeddingMetrics()
    embedder = BatchingEmbedder(engine, max_wait_s=max_wait_s, on_batch=metrics.batches.observe)
    server = _Server(
        uvicorn.Config(
            create_app(embedder, metrics),
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
        )
    )
    listener = bind(host, port, "port")
    try:
        async with asyncio.TaskGroup() as group:
            batching = group.create_task(embedder.run())
            serving = group.create_task(server.serve(sockets=[listener]))
            _log.info("embedding model %s listens on %s port %d", engine.model, host, port_of(listener))
            await stop.wait()
            server.should_exit = True
            await serving
            batching.cancel()
    finally:
        listener.close()
        await engine.close()


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Api:
    def __init__(self, embedder: Embedder, metrics: EmbeddingMetrics) -> None:
        self._embedder = embedder
        self._metrics = metrics

    async def embeddings(self, request: Request) -> Response:
        began_s = time.monotonic()
        try:
            response = await self._answer(request)
        except SophiaError as error:
            response = _refused(error)
        self._metrics.requests.labels("/v1/embeddings", response.status_code).observe(time.monotonic() - began_s)
        return response

    async def models(self, request: Request) -> Response:
        card = {"id": self._embedder.model, "object": "model", "created": 0, "owned_by": "sophia"}
        return _json({"object": "list", "data": [card]})

    async def health(self, request: Request) -> Response:
        return _json({"status": "ok"})

    async def metrics(self, request: Request) -> Response:
        return Response(generate_latest(self._metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def _answer(self, request: Request) -> Response:
        wanted = _decode(await _body(request))
        if wanted.model != self._embedder.model:
            raise NotFound(f"there is no model {wanted.model!r} here", field="model", mend=self._embedder.model)
        texts = _texts(wanted.input)
        if wanted.encoding_format not in ("float", "base64"):
            raise InvalidInput(
                f"unknown encoding {wanted.encoding_format!r}", field="encoding_format", mend="float or base64"
            )
        if wanted.dimensions not in (None, self._embedder.dimensions):
            raise InvalidInput(
                f"{wanted.model} has {self._embedder.dimensions} dimensions and cannot be shortened",
                field="dimensions",
                mend=f"leave it out or ask for {self._embedder.dimensions}",
            )
        answer = await self._embedder.embed(texts)
        tokens = answer.usage.embedding_tokens
        self._metrics.tokens.labels(answer.model).inc(tokens)
        self._metrics.truncated.inc(answer.truncated)
        return _json(
            {
                "object": "list",
                "model": answer.model,
                "data": _rows(answer, wanted.encoding_format),
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
                "truncated": answer.truncated,
            }
        )


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise PayloadTooLarge(f"the body is larger than {MAX_BODY_BYTES} bytes")
    return bytes(body)


def _decode(body: bytes) -> EmbeddingRequest:
    try:
        return msgspec.json.decode(body, type=EmbeddingRequest)
    except msgspec.DecodeError as error:
        raise InvalidInput(f"not an embedding request: {error}") from error


def _texts(given: Any) -> Sequence[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise InvalidInput("there is nothing to embed", field="input", mend="a string or a list of strings")
    if len(texts) > MAX_TEXTS:
        raise InvalidInput(f"{len(texts)} texts are more than {MAX_TEXTS}", field="input", mend="send several requests")
    for index, text in enumerate(texts):
        if isinstance(text, int | list):
            raise InvalidInput("token ids are not taken", field="input", mend="send the text itself")
        if not isinstance(text, str):
            raise InvalidInput("not a string", field=f"input[{index}]", mend="a string or a list of strings")
    return texts


def _rows(answer: EmbeddingAnswer, encoding: str) -> list[dict[str, Any]]:
    if encoding == "base64":
        vectors: list[Any] = [base64.b64encode(row.tobytes()).decode() for row in answer.vectors.astype("<f4")]
    else:
        vectors = answer.vectors.tolist()
    return [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]


def _refused(error: SophiaError) -> Response:
    match error:
        case PayloadTooLarge():
            status = 413
        case InvalidInput():
            status = 400
        case NotFound():
            status = 404
        case Unavailable():
            status = 503
        case _:
            status = 500
            _log.error("embedding failed", exc_info=error)
    message = f"{error.message} ({error.mend})" if error.mend else error.message
    response = _error(status, message, param=error.field, code=error.code)
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = f"{error.retry_after_s:.0f}"
    return response


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return _error(status, f"{request.method} {request.url.path}: {error}", code="not_found" if status == 404 else None)


async def _unexpected(request: Request, error: Exception) -> Response:
    return _error(500, "embedding failed: see the server's log", code="internal_error")


def _error(status: int, message: str, *, param: str | None = None, code: str | None = None) -> Response:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return _json({"error": {"message": message, "type": kind, "param": param, "code": code}}, status)


def _json(document: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(document), status, media_type="application/json")
