"""Server-sent events, as model providers stream their answers."""

from __future__ import annotations

from sophia.nouns.errors import UpstreamError

MAX_EVENT_BYTES = 8 * 1024 * 1024


class SseParser:
    """Bytes in, the ``data`` of each complete event out (https://html.spec.whatwg.org/multipage/server-sent-events.html).

    Events of other kinds than data (comments, ids, retry times) are passed over. Raises ``UpstreamError`` when an
    event grows beyond ``MAX_EVENT_BYTES``.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that ``chunk`` completes."""
        events: list[bytes] = []
        searched = max(0, len(self._rest) - 1)
        self._rest += chunk
        start = 0
        while (end := self._rest.find(b"\n", max(start, searched))) >= 0:
            line = bytes(self._rest[start:end]).removesuffix(b"\r")
            start = end + 1
            event = self._line(line)
            if event is not None:
                events.append(event)
        del self._rest[:start]
        if self._size + len(self._rest) > MAX_EVENT_BYTES:
            raise UpstreamError(f"a streamed event is larger than {MAX_EVENT_BYTES} bytes")
        return events

    def _line(self, line: bytes) -> bytes | None:
        if line:
            name, _, value = line.partition(b":")
            if name == b"data":
                value = value.removeprefix(b" ")
                self._data.append(value)
                self._size += len(value)
            return None
        if not self._data:
            return None
        event = b"\n".join(self._data)
        self._data.clear()
        self._size = 0
        return event
