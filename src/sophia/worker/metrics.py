"""Counters of the worker."""

from __future__ import annotations

from prometheus_client import Counter

TASKS_PROCESSED = Counter("tasks_processed_total", "Attempts that ended, by task type and outcome", ["type", "outcome"])
