"""A provider's stream on its way through: whole events, counted, ended when what was reserved is used up."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from sophia.gateway.metering import Meter

_ENDS = (b"\n\n", b"\r\n\r\n")
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_EVENT = re.compile(rb".*?(?:\r?\n){2}", re.DOTALL)
SLACK_EVENTS = 8
"""Events that are no token: the role, the finish reason, the usage."""
MAX_EVENT_BYTES = 8 * 1024 * 1024

_Json = dict[str, Any]


class Tap:
    """Bytes in, bytes out. ``hide_usage``: the usage was our wish, so the event that has nothing else is taken out."""

    def __init__(self, meter: Meter, *, hide_usage: bool, most_pieces: int | None) -> None:
        self._meter = meter
        self._hide_usage = hide_usage
        self._most = most_pieces
        self._rest = b""
        self._last = b""

    @property
    def used_up(self) -> bool:
        """More has come than was reserved."""
        return self._most is not None and self._meter.pieces > self._most + SLACK_EVENTS

    def feed(self, chunk: bytes) -> bytes:
        """What may go out of all that has come. The beginning of an event waits for the rest of it."""
        block = self._rest + chunk if self._rest else chunk
        if not block.endswith(_ENDS):
            end = max((at + len(mark) for mark in _ENDS if (at := block.rfind(mark)) >= 0), default=0)
            self._rest = block[end:]
            block = block[:end]
            if len(self._rest) > MAX_EVENT_BYTES:
                # No stream of events at all: it is none of ours to hold back.
                block, self._rest = block + self._rest, b""
        else:
            self._rest = b""
        if not block:
            return b""
        self._meter.pieces += block.count(b"\n\n") or block.count(b"\r\n\r\n")
        self._last = block
        return self._read_usage(block) if b'"usage"' in block and _USAGE.search(block) else block

    @property
    def complete(self) -> bool:
        """The stream has come to its end, and not within an event."""
        return not self._rest and b"[DONE]" in self._last

    def cut(self, notice: str, choices: int) -> bytes:
        """The end of a stream that may not go on: each choice finishes for its length, and a notice says why."""
        last: _Json = {}
        for event in _EVENT.findall(self._last):
            last = _decode(event) or last
        ended: _Json = {
            **{name: last[name] for name in ("id", "object", "created", "model") if name in last},
            "choices": [{"index": index, "delta": {}, "finish_reason": "length"} for index in range(choices)],
            "notice": notice,
        }
        return b"data: " + msgspec.json.encode(ended) + b"\n\ndata: [DONE]\n\n"

    def _read_usage(self, block: bytes) -> bytes:
        kept = []
        for event in _EVENT.findall(block):
            data = _data(event)
            alone = False
            if data is not None and self._meter.report(data) and self._hide_usage:
                alone = not (_decode(event) or {"choices": 1}).get("choices")
            if alone:
                continue
            kept.append(event)
        return b"".join(kept)


def _data(event: bytes) -> bytes | None:
    for line in event.splitlines():
        if line.startswith(b"data:"):
            return line[5:]
    return None


def _decode(event: bytes) -> _Json | None:
    data = _data(event)
    if data is None:
        return None
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return value if isinstance(value, dict) else None
