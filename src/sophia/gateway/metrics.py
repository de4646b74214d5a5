"""What the gateway counts, under the names that dashboards rely on."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from sophia.nouns.usage import NANO_USD_PER_USD, Usage

# From a cached answer to a long streamed one.
_BUCKETS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class GatewayMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Histogram(
            "http_request_duration_seconds",
            "Time from a request's arrival to the end of its answer.",
            ("method", "route", "status"),
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self.inference_tokens = Counter(
            "inference_tokens_total",
            "Tokens of chat answers that passed through, as the provider counted them, or as they came.",
            ("model", "direction"),
            registry=registry,
        )
        self.embedding_tokens = Counter(
            "embedding_tokens_total",
            "Tokens embedded through the OpenAI-compatible path.",
            ("model",),
            registry=registry,
        )

        self.cache_requests = Counter(
            "cache_requests_total",
            "Requests that could have been answered from a cache: hit, shared (after waiting for the same), miss.",
            ("cache", "result"),
            registry=registry,
        )
        self.cache_saved = Counter(
            "cache_saved_usd_total",
            "What answers from a cache would have cost.",
            ("cache",),
            registry=registry,
        )

    def cached(self, cache: str, result: str, saved_nano_usd: int) -> None:
        self.cache_requests.labels(cache, result).inc()
        if saved_nano_usd:
            self.cache_saved.labels(cache).inc(saved_nano_usd / NANO_USD_PER_USD)

    def used(self, model: str, usage: Usage) -> None:
        if usage.embedding_tokens:
            self.embedding_tokens.labels(model).inc(usage.embedding_tokens)
        if usage.input_tokens or usage.output_tokens:
            self.inference_tokens.labels(model, "input").inc(usage.input_tokens)
            self.inference_tokens.labels(model, "output").inc(usage.output_tokens)
