"""What the queue and the event log need of Redis, whether it is one server or a cluster of them."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Protocol


class Caller(Protocol):
    """One connection."""

    async def call(self, *words: Any) -> Any:
        """One command. Raises the driver's errors."""

    async def close(self) -> None:
        """Ends what is under way with the driver's ``ConnectionError``. The next call connects again."""


class Redis(Protocol):
    def call(self, key: str, *words: Any) -> Awaitable[Any]:
        """One command, whose keys are all of ``key``'s slot, over a connection that many calls share. Raises the
        driver's errors."""

    def caller(self, key: str) -> Caller:
        """A connection of one's own to the server of ``key``, for commands that are answered late. Closed with the rest."""

    def together(self, keys: Sequence[str]) -> list[list[int]]:
        """Which of these keys one command may name, by their places in ``keys``."""

    async def aclose(self) -> None: ...
