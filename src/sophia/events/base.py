"""The event contract: one ordered log of the platform, and one log per task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from sophia.nouns.event import Event


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """``cursor`` is where to go on. ``gap``: events between the asked cursor and the first one here are gone."""

    events: list[Event]
    cursor: str
    gap: bool = False


class EventLog(Protocol):
    async def publish(self, events: Sequence[Event]) -> None:
        """Append facts of the platform (pools, queue). Task events are written by the queue itself."""

    async def head(self) -> str:
        """The cursor after the newest event."""

    async def read(self, after: str, limit: int, wait_s: float) -> Page:
        """Events after a cursor, oldest first; waits up to ``wait_s`` for the first. Raises ``InvalidInput`` on a bad cursor."""

    async def task_log(self, task_id: str, after_seq: int) -> list[Event]:
        """A task's events with ``seq`` above ``after_seq``, in order; empty when unknown or let go."""

    async def put_snapshot(self, name: str, body: bytes) -> None:
        """Keep the newest state of something (``pools``) for readers that come later."""

    async def swap_snapshot(self, name: str, was: bytes | None, body: bytes) -> bool:
        """Put it if it still is what it ``was`` (``None``: not there); else change nothing and say ``False``.

        ``False`` may also follow a lost answer: who cares looks whether it was done.
        """

    async def snapshot(self, name: str) -> bytes | None: ...

    async def close(self) -> None: ...
