"""The dead-man's switch of a host: whoever has not seen its control plane for too long leaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from sophia.nouns.clock import Clock
from sophia.nouns.errors import SophiaError

log = logging.getLogger(__name__)

LOOKS_PER_LEASE = 4


class Abandoned(SophiaError):
    """Nobody has looked after this host for the time of its lease."""

    code = "abandoned"


class DeadMan:
    """``sight`` gives a mark that the control plane changes while it lives, or ``None``. A mark that does not change is
    no sign of life: a queue without a pool manager terminates nobody. ``seen_file`` is touched at every sign, for the
    host's own timer, which covers a worker that cannot even start."""

    def __init__(
        self,
        sight: Callable[[], Awaitable[object | None]],
        lease_s: float,
        clock: Clock,
        seen_file: Path | None = None,
    ) -> None:
        self._sight = sight
        self._lease_s = lease_s
        self._clock = clock
        self._seen_file = seen_file

    async def run(self) -> None:
        """Returns when the lease has run out."""
        last: object | None = None
        seen_at_s = self._clock.monotonic_s()
        while (left_s := self._lease_s - (self._clock.monotonic_s() - seen_at_s)) > 0:
            pause_s = min(left_s, self._lease_s / LOOKS_PER_LEASE)
            mark = await self._look(pause_s)
            if mark is not None and mark != last:
                last, seen_at_s = mark, self._clock.monotonic_s()
                await asyncio.to_thread(self._note)
            await asyncio.sleep(pause_s)
        log.error("the control plane was not seen for %g s; this host drains and ends", self._lease_s)

    async def _look(self, timeout_s: float) -> object | None:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._sight()
        except (SophiaError, TimeoutError) as error:
            log.warning("the control plane cannot be seen: %s", error or "no answer")
            return None

    def _note(self) -> None:
        if self._seen_file is None:
            return
        try:
            self._seen_file.touch()
        except OSError as error:
            log.warning("cannot note that the control plane was seen: %s", error)
