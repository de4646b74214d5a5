"""Metrics of the model servers of this host, passed through under their own names with the model as a label."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

_IN_FLIGHT = frozenset(
    {
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
        "llamacpp:requests_processing",
        "llamacpp:requests_deferred",
    }
)


def in_flight(exposition: str | None) -> int | None:
    """Requests that run or wait in a server of vLLM or llama.cpp; ``None`` when its metrics do not say."""
    counts = [
        int(sample.value) for family in _families(exposition) for sample in family.samples if sample.name in _IN_FLIGHT
    ]
    return sum(counts) if counts else None


class ServerMetrics(Collector):
    """What each server said last. A server that is down, or whose answer cannot be read, has none."""

    def __init__(self) -> None:
        self._expositions: dict[str, str] = {}

    def keep(self, model: str, exposition: str | None) -> None:
        if exposition is None:
            self.forget(model)
        else:
            self._expositions[model] = exposition

    def forget(self, model: str) -> None:
        self._expositions.pop(model, None)

    def describe(self) -> Iterator[Metric]:
        """Nothing is known beforehand."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        merged: dict[str, Metric] = {}
        for model, exposition in list(self._expositions.items()):
            for family in _families(exposition):
                into = merged.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                for sample in family.samples:
                    into.samples.append(sample._replace(labels={"served_model": model, **sample.labels}))
        yield from merged.values()


def _families(exposition: str | None) -> list[Metric]:
    try:
        return list(text_string_to_metric_families(exposition or ""))
    except ValueError:
        return []
