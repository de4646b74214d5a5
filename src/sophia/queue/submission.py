"""What every engine says about a submission, whatever it stores."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from sophia.nouns.objects import same_whenever
from sophia.nouns.task import Task

_sorted = msgspec.json.Encoder(order="sorted")


def request_hash(task: Task) -> str:
    """Digest of everything a caller asked for; equal requests have equal digests whatever the order of their keys."""
    asked = (
        task.type,
        same_whenever(task.payload),
        task.tier,
        task.priority,
        msgspec.to_builtins(task.budget),
        task.run_at_ms,
        task.deadline_at_ms,
        task.timeout_s,
        task.max_attempts,
        task.labels,
        task.durability,
    )
    return hashlib.sha256(_sorted.encode(asked)).hexdigest()[:32]


def submission_data(task: Task) -> dict[str, Any]:
    """Data of a task's first event."""
    data: dict[str, Any] = {
        "type": task.type,
        "priority": task.priority.label,
        "route": msgspec.to_builtins(task.route),
    }
    if task.run_at_ms is not None:
        data["due_at_ms"] = task.run_at_ms
    return data
