"""``/v1/files``: content in the object store, in parts of whole lines."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sophia.gateway.deps import Call
from sophia.gateway.file_parts import Cut, LineCutter
from sophia.gateway.file_schemas import LEAST_TTL_S, LONGEST_TTL_S, FileDeleted, FileObject, FileObjects
from sophia.gateway.multipart import Form
from sophia.gateway.query import number
from sophia.gateway.responses import json_answer
from sophia.gateway.streaming import send_chunk, send_end, send_start, while_connected
from sophia.nouns.batches import FilePart, Purpose, StoredFile
from sophia.nouns.errors import InvalidInput, NotFound
from sophia.store.base import FileFilter

MAX_LIST = 10_000
PARTS_AT_ONCE = 100
DAY_MS = 86_400_000
_FILE_ID = re.compile(r"^file-[0-9a-f]{32}$")
_ANCHOR, _SECONDS = "expires_after[anchor]", "expires_after[seconds]"


async def upload(call: Call) -> Response:
    """The file is there once all its parts are in the object store and its row in the ledger; parts of an upload that
    broke off belong to nothing and are swept away."""
    limits = call.settings.batches
    cutter = LineCutter(
        chunk_requests=limits.chunk_requests,
        chunk_bytes=limits.chunk_bytes,
        max_line_bytes=limits.max_line_bytes,
        max_requests=limits.max_requests,
    )
    parts: list[FilePart] = []

    async def keep(cuts: list[Cut]) -> None:
        for cut in cuts:
            ref = await call.deps.packing.keep(cut.body)
            parts.append(FilePart(object=ref, first_line=cut.first_line, requests=cut.requests))

    async def sink(data: bytes) -> None:
        await keep(cutter.add(data))

    form = Form(call.request, limits.max_file_bytes)
    await form.read(sink)
    if form.fields.get("purpose") != Purpose.BATCH:
        raise InvalidInput("the purpose of this file is not known", field="purpose", mend="batch")
    if form.filename is None:
        raise InvalidInput("there is no file", field="file", mend="a file of the form with that name")
    await keep(cutter.finish())
    now_ms = call.deps.clock.now_ms()
    file = StoredFile(
        id=f"file-{call.context.ids.new(now_ms)}",
        tenant=call.tenant,
        purpose=Purpose.BATCH,
        filename=form.filename,
        bytes=form.file_bytes,
        created_at_ms=now_ms,
        expires_at_ms=now_ms + _ttl_ms(form.fields, round(limits.keep_days * DAY_MS)),
    )
    await call.deps.files.add_file(file, parts)
    return json_answer(_view(file))


async def list_files(call: Call) -> Response:
    query = call.request.query_params
    purpose = query.get("purpose")
    if purpose is not None and purpose not in list(Purpose):
        raise InvalidInput("this purpose is not known", field="purpose", mend="one of: batch, batch_output")
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise InvalidInput("this order is not known", field="order", mend="one of: asc, desc")
    where = FileFilter(
        purpose=None if purpose is None else Purpose(purpose), after=after(call, _FILE_ID), newest_first=order == "desc"
    )
    limit = int(number(call, "limit", MAX_LIST, 1, MAX_LIST, whole=True))
    found = await call.deps.files.files(call.tenant, where, limit + 1, call.deps.clock.now_ms())
    page = [_view(file) for file in found[:limit]]
    return json_answer(
        FileObjects(
            object="list",
            data=page,
            first_id=page[0].id if page else None,
            last_id=page[-1].id if page else None,
            has_more=len(found) > limit,
        )
    )


async def get_file(call: Call) -> Response:
    return json_answer(_view(await find_file(call, call.request.path_params["file_id"])))


async def delete_file(call: Call) -> Response:
    file = await find_file(call, call.request.path_params["file_id"])
    await call.deps.files.delete_file(call.tenant, file.id, call.deps.clock.now_ms())
    return json_answer(FileDeleted(id=file.id, object="file", deleted=True))


async def file_content(call: Call) -> Response:
    return FileContent(call, await find_file(call, call.request.path_params["file_id"]))


async def find_file(call: Call, file_id: str, field: str = "file_id") -> StoredFile:
    """Raises ``NotFound``, also for another tenant's file."""
    known = _FILE_ID.match(file_id) is not None
    file = await call.deps.files.file(call.tenant, file_id, call.deps.clock.now_ms()) if known else None
    if file is None:
        raise NotFound(f"there is no file {file_id[:64]!r}", field=field, mend="an `id` from `GET /v1/files`")
    return file


def after(call: Call, form: re.Pattern[str]) -> str | None:
    """The cursor of a list: the last id of the page before."""
    value = call.request.query_params.get("after")
    if value is not None and not form.match(value):
        raise InvalidInput("this is no id of this list", field="after", mend="`last_id` of the page before")
    return value


class FileContent(Response):
    """A file's bytes, part by part: as fast as the client reads, and one part in memory."""

    def __init__(self, call: Call, file: StoredFile) -> None:
        super().__init__()
        self._call = call
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await while_connected(receive, self._send(send))

    async def _send(self, send: Send) -> None:
        async with aclosing(self._bodies()) as bodies:
            # What cannot be read at all is said before the status goes out.
            first = await anext(bodies, b"")
            await send_start(
                send,
                200,
                {
                    "Content-Type": "application/octet-stream",
                    "Content-Length": str(self._file.bytes),
                    "Content-Disposition": "attachment",
                    "X-Content-Type-Options": "nosniff",
                    "Cache-Control": "no-store",
                },
            )
            await send_chunk(send, first)
            async for body in bodies:
                await send_chunk(send, body)
        await send_end(send)

    async def _bodies(self) -> AsyncGenerator[bytes]:
        number_ = 0
        while parts := await self._call.deps.files.parts(self._file.id, number_, PARTS_AT_ONCE):
            for part in parts:
                yield await self._call.deps.packing.fetch(part.object)
            number_ += len(parts)


def _ttl_ms(fields: dict[str, str], default_ms: int) -> int:
    if _ANCHOR not in fields and _SECONDS not in fields:
        return default_ms
    seconds = fields.get(_SECONDS, "")
    if fields.get(_ANCHOR) != "created_at":
        raise InvalidInput("this anchor is not known", field=_ANCHOR, mend="created_at")
    if not re.fullmatch(r"[0-9]{1,8}", seconds) or not LEAST_TTL_S <= int(seconds) <= LONGEST_TTL_S:
        raise InvalidInput("not a time that can be kept", field=_SECONDS, mend=f"{LEAST_TTL_S} to {LONGEST_TTL_S}")
    return int(seconds) * 1000


def _view(file: StoredFile) -> FileObject:
    return FileObject(
        id=file.id,
        object="file",
        bytes=file.bytes,
        created_at=file.created_at_ms // 1000,
        expires_at=None if file.expires_at_ms is None else file.expires_at_ms // 1000,
        filename=file.filename,
        purpose=file.purpose.value,
        status="processed",
    )
