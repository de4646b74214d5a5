"""Virtual time: a loop whose clock jumps to the next timer as soon as nothing is left to do."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any

EPOCH_MS = 1_800_000_000_000


class _Jumping(selectors.DefaultSelector):
    """Never waits: where a loop would sleep until its next timer, its clock is moved there."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("everything waits, and nothing will ever happen")
        if not ready and timeout:
            self.loop.now_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Nothing in it may wait for the real world: no sockets, no threads."""

    def __init__(self) -> None:
        self.now_s = 0.0
        selector = _Jumping()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now_s


class VirtualClock:
    """``sophia.nouns.clock.Clock`` over the loop's time."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        return EPOCH_MS + round(self._loop.now_s * 1000)

    def monotonic_s(self) -> float:
        return self._loop.now_s
