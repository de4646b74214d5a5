"""What calls of models come to, by deployment."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge

OUTCOMES = ("ok", "refused", "unreachable", "late", "broken")


class DeploymentMetrics(dict[str, Any]):
    """Counters by outcome, and the gauge of the breaker."""

    def __init__(self, attempts: Counter, is_open: Gauge, model: str, deployment: str) -> None:
        super().__init__({outcome: attempts.labels(model, deployment, outcome) for outcome in OUTCOMES})
        self.open = is_open.labels(model, deployment)


class InferenceMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._attempts = Counter(
            "inference_attempts_total",
            "Attempts at a deployment of a model. broken: an answer that broke off after it had begun.",
            ("model", "deployment", "outcome"),
            registry=registry,
        )
        self._open = Gauge(
            "inference_deployment_open",
            "1 while a deployment is left alone because it fails, until a call succeeds again.",
            ("model", "deployment"),
            registry=registry,
            multiprocess_mode="max",
        )

    def of_deployment(self, model: str, deployment: str) -> DeploymentMetrics:
        return DeploymentMetrics(self._attempts, self._open, model, deployment)
