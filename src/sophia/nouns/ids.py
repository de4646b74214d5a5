"""Identifiers of tasks: UUID version 7 (RFC 9562, section 5.7) as 32 hexadecimal digits, so that they sort by time."""

from __future__ import annotations

import re
import secrets
import threading

_COUNTER_BITS = 74
_ID = re.compile(r"^[0-9a-f]{32}$")


class IdSource:
    """Makes ids that rise strictly within one process, also when many fall into one millisecond or the clock steps back.

    The 74 bits after the time stamp are random at the start of every millisecond and count up within it by a random
    step (RFC 9562, section 6.2, method 2), so ids of several processes do not collide and cannot be guessed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ms = -1
        self._tail = 0

    def new(self, now_ms: int) -> str:
        with self._lock:
            if now_ms > self._ms:
                self._ms, self._tail = now_ms, secrets.randbits(_COUNTER_BITS - 1)
            else:
                self._tail += 1 + secrets.randbits(32)
                if self._tail >> _COUNTER_BITS:
                    self._ms, self._tail = self._ms + 1, secrets.randbits(_COUNTER_BITS - 1)
            ms, tail = self._ms, self._tail
        high, low = tail >> 62, tail & ((1 << 62) - 1)
        return f"{(ms << 80) | (7 << 76) | (high << 64) | (0b10 << 62) | low:032x}"


def is_task_id(text: str) -> bool:
    """Whether a text has the form of a task id."""
    return _ID.match(text) is not None
