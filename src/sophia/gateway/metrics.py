"""What the gateway counts, under the names that dashboards rely on."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from sophia.nouns.usage import Usage

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

    def used(self, model: str, usage: Usage) -> None:
        if usage.embedding_tokens:
            self.embedding_tokens.labels(model).inc(usage.embedding_tokens)
        if usage.input_tokens or usage.output_tokens:
            self.inference_tokens.labels(model, "input").inc(usage.input_tokens)
            self.inference_tokens.labels(model, "output").inc(usage.output_tokens)
