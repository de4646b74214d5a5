"""What is asked for, before it is a task: over the API, or by a schedule."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from sophia.nouns.budget import Budget
from sophia.nouns.task import Durability, Tier

Timestamp = Annotated[datetime, msgspec.Meta(tz=True)]
"""RFC 3339, always with an offset; answers are in UTC."""
PriorityName = Literal["critical", "high", "normal", "low"]
Labels = Annotated[
    dict[Annotated[str, msgspec.Meta(max_length=64)], Annotated[str, msgspec.Meta(max_length=256)]],
    msgspec.Meta(max_length=16),
]


class Submission(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A task to run. ``payload`` has the fields of its type."""

    type: str
    payload: dict[str, Any]
    tier: Tier = Tier.FAST
    priority: PriorityName = "normal"
    budget: Budget = Budget()
    run_at: Timestamp | None = None
    """Not before this time (RFC 3339)."""
    deadline_at: Timestamp | None = None
    """Fail when it cannot start by then."""
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=86_400)] | None = None
    max_attempts: Annotated[int, msgspec.Meta(ge=1, le=100)] | None = None
    labels: Labels = {}
    durability: Durability = Durability.QUEUE
    """``ledger``: accepted only once the ledger has it too, so that not even the loss of the queue loses it."""
