"""Counters of the worker."""

from __future__ import annotations

import functools

from prometheus_client import Counter

TASKS_PROCESSED = Counter("tasks_processed_total", "Attempts that ended, by task type and outcome", ["type", "outcome"])


@functools.cache
def processed(type_: str, outcome: str) -> Counter:
    """The counter of one type and outcome; finding it by its labels anew costs more than counting."""
    return TASKS_PROCESSED.labels(type_, outcome)
