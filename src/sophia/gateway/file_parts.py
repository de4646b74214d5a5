"""An upload cut into parts of whole lines, each the size of a chunk of a batch, so that a batch needs no copy of it."""

from __future__ import annotations

from typing import NamedTuple

from sophia.nouns.errors import InvalidInput


class Cut(NamedTuple):
    body: bytes
    first_line: int
    """Counted from 1."""
    requests: int
    """Lines that are not blank."""


class LineCutter:
    """Takes bytes as they come and gives them back cut behind a line end, when ``chunk_requests`` lines or
    ``chunk_bytes`` are there. Behind ``max_requests`` lines, which no batch takes, only the bytes count."""

    def __init__(self, *, chunk_requests: int, chunk_bytes: int, max_line_bytes: int, max_requests: int) -> None:
        self._chunk_requests = chunk_requests
        self._chunk_bytes = chunk_bytes
        self._max_line_bytes = max_line_bytes
        self._max_requests = max_requests
        self._lines = bytearray()
        """Whole ones."""
        self._rest = bytearray()
        """The beginning of the next one."""
        self._first_line = 1
        self._line = 1
        """Number of the line that ``_rest`` begins."""
        self._requests = 0
        self._seen = 0

    def add(self, data: bytes) -> list[Cut]:
        """Raises ``InvalidInput`` for a line that is too long."""
        cuts: list[Cut] = []
        *ended, rest = data.split(b"\n")
        for piece in ended:
            self._rest += piece
            self._check_length()
            self._end_line(b"\n")
            if self._is_full():
                cuts.append(self._cut())
        self._rest += rest
        self._check_length()
        return cuts

    def finish(self) -> list[Cut]:
        """What is left; the last line need not end."""
        if self._rest:
            self._end_line(b"")
        return [self._cut()] if self._lines else []

    def _end_line(self, end: bytes) -> None:
        if self._rest.strip():
            self._requests += 1
            self._seen += 1
        self._lines += self._rest
        self._lines += end
        self._rest.clear()
        self._line += 1

    def _is_full(self) -> bool:
        if len(self._lines) >= self._chunk_bytes:
            return True
        return self._requests >= self._chunk_requests and self._seen <= self._max_requests

    def _cut(self) -> Cut:
        cut = Cut(bytes(self._lines), self._first_line, self._requests)
        self._lines.clear()
        self._first_line, self._requests = self._line, 0
        return cut

    def _check_length(self) -> None:
        if len(self._rest) > self._max_line_bytes:
            raise InvalidInput(
                f"line {self._line} is longer than {self._max_line_bytes} bytes",
                field="file",
                mend="shorter requests; images as URLs",
            )
