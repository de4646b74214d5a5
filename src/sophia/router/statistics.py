"""Queue depths as events: only what changed."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import Gauge

from sophia.nouns.event import Event, EventKind
from sophia.queue.base import StreamStats

STREAM_LENGTH = Gauge(
    "redis_stream_length", "Tasks waiting in a stream, all priorities", ["stream"], multiprocess_mode="mostrecent"
)
DEPTHS = ("waiting", "running", "delayed", "retrying")


class Statistics:
    """Remembers what it said last."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, str], tuple[int | None, ...]] = {}

    def changed(self, rows: Sequence[StreamStats], now_ms: int) -> list[Event]:
        events = []
        for row in rows:
            depths = tuple(getattr(row, name) for name in DEPTHS)
            if self._said.get((row.stream, row.priority)) == depths:
                continue
            self._said[row.stream, row.priority] = depths
            backlog = None if any(depth is None for depth in depths) else sum(depth or 0 for depth in depths)
            events.append(
                Event(
                    kind=EventKind.QUEUE_CHANGED,
                    at_ms=now_ms,
                    subject=f"{row.stream}:{row.priority}",
                    data={
                        "stream": row.stream,
                        "priority": row.priority,
                        **dict(zip(DEPTHS, depths, strict=True)),
                        "backlog": backlog,
                        "oldest_age_s": row.oldest_age_s,
                    },
                )
            )
        for stream in {row.stream for row in rows}:
            waiting = [row.waiting for row in rows if row.stream == stream]
            if None not in waiting:
                STREAM_LENGTH.labels(stream).set(sum(depth or 0 for depth in waiting))
        return events
