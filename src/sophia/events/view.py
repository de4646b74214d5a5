"""An event as clients get it, on server-sent events and WebSocket alike."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, cast

import msgspec

from sophia.nouns.event import Event

Topic = Literal["tasks", "pools", "queue"]


class EventView(msgspec.Struct, frozen=True, kw_only=True):
    """One event, on SSE and WebSocket alike."""

    kind: str
    topic: Topic
    subject: str
    """The task's id, `pool/instance`, or a stream's name."""
    at: Annotated[datetime, msgspec.Meta(tz=True)]
    data: dict[str, Any]
    seq: int
    """Within a task's log; 0 for events of pools and queue."""
    cursor: str
    """Where to go on. SSE: the `id` (a task's `seq`); WebSocket: an opaque position in the whole log."""


def event_view(event: Event, cursor: str) -> EventView:
    return EventView(
        kind=event.kind.value,
        topic=cast(Topic, event.topic),
        subject=event.subject,
        at=datetime.fromtimestamp(event.at_ms / 1000, UTC),
        data=event.data,
        seq=event.seq,
        cursor=cursor,
    )
