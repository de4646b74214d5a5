"""Server-sent events, as the platform's own event stream uses them."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from sophia.client.errors import Unreachable

MAX_EVENT_BYTES = 64 * 1024 * 1024


class ServerEvent(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    event: str
    data: bytes


class EventParser:
    """Bytes in, complete events out (https://html.spec.whatwg.org/multipage/server-sent-events.html). An event that
    the connection's end cuts off is never given."""

    def __init__(self) -> None:
        self._rest = b""
        self._id = ""
        self._event = ""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[ServerEvent]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            done = self._line(line.removesuffix(b"\r"))
            if done is not None:
                yield done
        if len(self._rest) > MAX_EVENT_BYTES:
            raise Unreachable(f"the platform sent an event of more than {MAX_EVENT_BYTES} bytes")

    def _line(self, line: bytes) -> ServerEvent | None:
        if not line:
            done = ServerEvent(id=self._id, event=self._event, data=b"\n".join(self._data)) if self._data else None
            self._event, self._data = "", []
            return done
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"id":
            self._id = value.decode("utf-8", "replace")
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        return None
