"""Metrics of this machine's GPUs by NVML, read when they are asked for. Without a GPU there are none, and no zeros."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

_log = logging.getLogger(__name__)

_FAMILIES = {
    "gpu_utilization_percent": "Share of the last sample period in which the GPU was busy",
    "gpu_memory_used_bytes": "GPU memory in use",
    "gpu_memory_total_bytes": "GPU memory there is",
}


class GpuMetrics(Collector):
    """``nvml`` is ``pynvml``, initialized. A value that the driver does not give (utilization under MIG) is absent."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml

    def describe(self) -> Iterator[Metric]:
        """Nothing: asking the driver is left to scrapes."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        families = {name: GaugeMetricFamily(name, words, labels=["gpu"]) for name, words in _FAMILIES.items()}
        try:
            for number in range(self._nvml.nvmlDeviceGetCount()):
                self._add(families, number)
        except self._nvml.NVMLError as error:
            _log.warning("cannot ask NVML: %s", error)
        yield from (family for family in families.values() if family.samples)

    def _add(self, families: dict[str, GaugeMetricFamily], number: int) -> None:
        handle = self._nvml.nvmlDeviceGetHandleByIndex(number)
        readings: dict[str, Callable[[], float]] = {
            "gpu_utilization_percent": lambda: self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu,
            "gpu_memory_used_bytes": lambda: self._nvml.nvmlDeviceGetMemoryInfo(handle).used,
            "gpu_memory_total_bytes": lambda: self._nvml.nvmlDeviceGetMemoryInfo(handle).total,
        }
        for name, read in readings.items():
            try:
                families[name].add_metric([str(number)], read())
            except self._nvml.NVMLError as error:
                _log.debug("GPU %d gives no %s: %s", number, name, error)


def register_gpu_metrics(registry: CollectorRegistry) -> bool:
    """Whether there is a GPU to report of: NVIDIA's driver and the package ``nvidia-ml-py`` (``sophia[gpu]``) are there."""
    try:
        pynvml = importlib.import_module("pynvml")
    except ImportError:
        return False
    try:
        pynvml.nvmlInit()
        if not pynvml.nvmlDeviceGetCount():
            return False
    except pynvml.NVMLError as error:
        _log.debug("no GPU metrics: %s", error)
        return False
    registry.register(GpuMetrics(pynvml))
    return True
