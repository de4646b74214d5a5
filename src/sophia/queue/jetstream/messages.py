"""What is written to the stream and read from it."""

from __future__ import annotations

import msgspec


class Put(msgspec.Struct, frozen=True):
    """A message to store. ``expect`` is the sequence of the newest message of ``expect_of`` (its own subject when
    empty) that the writer knows, 0 for none: a write that knows something else changes nothing."""

    subject: str
    data: bytes = b""
    expect: int | None = None
    expect_of: str = ""
    ttl_s: int | None = None
    """The server lets it go after so many seconds, at least one."""
    unique: str = ""
    """Writing it a second time within two minutes changes nothing. Not inside a batch."""

    def headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        if self.expect is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(self.expect)
            if self.expect_of:
                headers["Nats-Expected-Last-Subject-Sequence-Subject"] = self.expect_of
        if self.ttl_s is not None:
            headers["Nats-TTL"] = f"{self.ttl_s}s"
        if self.unique:
            headers["Nats-Msg-Id"] = self.unique
        return headers


class Stored(msgspec.Struct, frozen=True):
    """A message of the stream. ``at_ms`` is the server's clock; ``pending`` counts those that match after it."""

    subject: str
    seq: int
    at_ms: int
    data: bytes
    pending: int
