"""Gauges of the pool manager."""

from __future__ import annotations

from prometheus_client import Gauge

POOL_INSTANCES = Gauge("sophia_pool_instances", "Instances by pool and state", ["pool", "state"])
POOL_DESIRED = Gauge("sophia_pool_desired", "Instances the pool should settle at", ["pool"])
