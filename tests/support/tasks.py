"""Tasks for tests."""

from __future__ import annotations

import itertools
import time
from typing import Any

from sophia.nouns.task import Priority, Route, Target, Task

_numbers = itertools.count(1)


def make_task(**changes: Any) -> Task:
    """A valid task with a fresh id; any field can be given."""
    number = next(_numbers)
    fields: dict[str, Any] = {
        "id": f"{time.time_ns() // 1_000_000:016x}{number:016x}",
        "type": "light",
        "payload": {"prompt": f"task {number}"},
        "route": Route(stream="light", target=Target.CPU, reason="else"),
        "submitted_at_ms": time.time_ns() // 1_000_000,
        "priority": Priority.NORMAL,
    }
    return Task(**{**fields, **changes})
