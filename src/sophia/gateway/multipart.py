"""A form with one file, read as it arrives and never wholly in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from sophia.gateway.errors import SlowBody
from sophia.nouns.errors import InvalidInput, PayloadTooLarge

SILENCE_TIMEOUT_S = 60.0
LONGEST_UPLOAD_S = 3_600.0
FIELD_BYTES = 4_096
MOST_FIELDS = 16
FORM_BYTES = 65_536
"""Of everything but the file."""

Sink = Callable[[bytes], Awaitable[None]]


class Form:
    """``fields`` and ``filename`` are complete once ``read`` has returned; the file's bytes go to a sink."""

    def __init__(self, request: Request, max_file_bytes: int) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        """``None``: no file was sent."""
        self.file_bytes = 0
        self._request = request
        self._max_file_bytes = max_file_bytes
        self._header: bytearray = bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._value: bytearray = bytearray()
        self._name = ""
        self._in_file = False
        self._ended = False
        self._pending: list[bytes] = []

    async def read(self, sink: Sink) -> None:
        """Raises ``InvalidInput`` for anything but such a form, ``PayloadTooLarge`` and ``SlowBody``."""
        parser = MultipartParser(
            self._boundary(),
            {
                "on_part_begin": self._begin,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_end": self._finished,
            },
        )
        announced = self._request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self._max_file_bytes + FORM_BYTES:
            raise self._too_large()
        received = 0
        try:
            async with asyncio.timeout(LONGEST_UPLOAD_S):
                stream = aiter(self._request.stream())
                while (chunk := await _next(stream)) is not None:
                    received += len(chunk)
                    parser.write(chunk)
                    if received - self.file_bytes > FORM_BYTES:
                        raise InvalidInput("the form is too large beside its file", field="(body)")
                    for piece in self._pending:
                        await sink(piece)
                    self._pending.clear()
            parser.finalize()
        except TimeoutError as error:
            raise SlowBody("the upload did not arrive in time") from error
        except FormParserError as error:
            raise InvalidInput(f"the form cannot be read: {error}", field="(body)") from error
        if not self._ended:
            raise InvalidInput("the form breaks off", field="(body)", mend="end it with its boundary")

    def _boundary(self) -> bytes:
        kind, options = parse_options_header(self._request.headers.get("content-type", ""))
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not 0 < len(boundary) <= 200:
            raise InvalidInput(
                "the body is not a form", field="Content-Type", mend="multipart/form-data with fields purpose and file"
            )
        return boundary

    def _begin(self) -> None:
        self._headers = {}
        self._value = bytearray()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header, self._value = bytearray(), bytearray()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        filename = options.get(b"filename")
        self._in_file = self._name == "file"
        if self._in_file:
            if self.filename is not None:
                raise InvalidInput("there are two files", field="file", mend="one file for each request")
            self.filename = _plain((filename or b"").decode("utf-8", "replace"))
        elif len(self.fields) >= MOST_FIELDS:
            raise InvalidInput(f"more than {MOST_FIELDS} fields", field="(body)")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self.file_bytes += end - start
            if self.file_bytes > self._max_file_bytes:
                raise self._too_large()
            self._pending.append(data[start:end])
            return
        self._value += data[start:end]
        if len(self._value) > FIELD_BYTES:
            raise InvalidInput(f"the field is longer than {FIELD_BYTES} bytes", field=self._name[:64])

    def _end(self) -> None:
        if not self._in_file:
            self.fields[self._name] = self._value.decode("utf-8", "replace")

    def _finished(self) -> None:
        self._ended = True

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(
            f"the file is larger than {self._max_file_bytes} bytes", field="file", mend="split it into several files"
        )


async def _next(stream: AsyncIterator[bytes]) -> bytes | None:
    async with asyncio.timeout(SILENCE_TIMEOUT_S):
        return await anext(stream, None)


def _plain(name: str) -> str:
    """The last part of a path, without what cannot be shown."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(character for character in last if character.isprintable())[:255] or "file.jsonl"
