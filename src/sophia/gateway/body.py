"""Request bodies: read within bounds, decoded into structs, faults named by field."""

from __future__ import annotations

import asyncio
import re
from typing import Any, TypeVar

import msgspec
from msgspec import inspect as shapes
from starlette.requests import ClientDisconnect, Request

from sophia.gateway.errors import MalformedJson, SlowBody
from sophia.nouns.errors import InvalidInput, PayloadTooLarge
from sophia.nouns.wording import nearest

T = TypeVar("T")

BODY_TIMEOUT_S = 60.0
_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `\$(?P<path>[^`]*)`)?$", re.DOTALL)
_BYTE = re.compile(r" \(byte (\d+)\)$")
_NAMED = re.compile(r"(?:missing required|unknown) field `([^`]+)`")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The body. Raises ``PayloadTooLarge`` as soon as it is known to be over ``max_bytes``, without keeping the rest."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise _too_large(max_bytes)
    # Not `request.stream()`: that costs as much as everything else here, and most bodies come in one piece.
    body: bytes | bytearray = b""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                chunk = message.get("body", b"")
                if body:
                    body += chunk
                else:
                    body = chunk if not message.get("more_body", False) else bytearray(chunk)
                if len(body) > max_bytes:
                    raise _too_large(max_bytes)
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError as error:
        raise SlowBody(f"the body did not arrive within {BODY_TIMEOUT_S:g} s") from error


def decode(body: bytes, shape: type[T]) -> T:
    """The body as a struct. Raises ``MalformedJson`` with the place, or ``InvalidInput`` with the field's path."""
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise misfit(str(error), shape) from error
    except msgspec.DecodeError as error:
        raise _malformed(str(error), body) from error
    except UnicodeDecodeError as error:
        raise MalformedJson("the body is not UTF-8", mend="encode it as UTF-8") from error
    except RecursionError as error:
        raise MalformedJson("the body is nested too deeply") from error


def misfit(message: str, shape: Any) -> InvalidInput:
    """msgspec's message as an error whose ``field`` is the path and whose ``mend`` says what is known there."""
    match = _PLACE.match(message)
    what, path = (match["what"], match["path"] or "") if match else (message, "")
    field = path.removeprefix(".")
    here = _shape_at(shapes.type_info(shape), path)
    mend = None
    if named := _NAMED.search(what):
        field = f"{field}.{named[1]}" if field else named[1]
        if isinstance(here, shapes.StructType):
            known = [known_field.encode_name for known_field in here.fields]
            mend = nearest(named[1], known) if "unknown" in what else _accepted(_shape_at(here, f".{named[1]}"))
    elif what.startswith("Invalid enum value"):
        mend = nearest(what.partition("'")[2].rstrip("'"), _values(here))
    elif here is not None:
        mend = _accepted(here)
    return InvalidInput(what, field=field or "(body)", mend=mend)


def _too_large(max_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"the body is larger than {max_bytes} bytes", field="(body)", mend="split it over several requests"
    )


def _malformed(message: str, body: bytes) -> MalformedJson:
    if not body.strip():
        return MalformedJson("the body is empty", field="(body)", mend="send a JSON object")
    at = _BYTE.search(message)
    if at is None:
        return MalformedJson(f"the body is not JSON: {message.lower()}", field="(body)", mend="close what was opened")
    before = body[: int(at[1])]
    line = before.count(b"\n") + 1
    column = len(before) - (before.rfind(b"\n") + 1) + 1
    what = message[: at.start()].removeprefix("JSON is malformed: ")
    return MalformedJson(f"the body is not JSON: {what} at line {line}, column {column} (byte {at[1]})", field="(body)")


def _shape_at(shape: shapes.Type | None, path: str) -> shapes.Type | None:
    for step in _STEP.finditer(path):
        shape = _inside(_bare(shape), step[1])
    return _bare(shape)


def _inside(shape: shapes.Type | None, name: str | None) -> shapes.Type | None:
    if isinstance(shape, shapes.StructType):
        return next((field.type for field in shape.fields if field.encode_name == name), None)
    if isinstance(shape, shapes.ListType):
        return shape.item_type
    if isinstance(shape, shapes.DictType):
        return shape.value_type
    return None


def _bare(shape: shapes.Type | None) -> shapes.Type | None:
    """Without metadata and without the null of an optional value."""
    while isinstance(shape, shapes.Metadata):
        shape = shape.type
    if isinstance(shape, shapes.UnionType):
        others = [member for member in shape.types if not isinstance(member, shapes.NoneType)]
        return _bare(others[0]) if len(others) == 1 else shape
    return shape


def _values(shape: shapes.Type | None) -> list[str]:
    if isinstance(shape, shapes.EnumType):
        return [str(member.value) for member in shape.cls]
    if isinstance(shape, shapes.LiteralType):
        return [str(value) for value in shape.values]
    return []


def _accepted(shape: shapes.Type | None) -> str | None:
    if values := _values(shape):
        return "one of: " + ", ".join(values)
    names: dict[type[shapes.Type], str] = {
        shapes.StrType: "a string",
        shapes.IntType: "a whole number",
        shapes.FloatType: "a number",
        shapes.BoolType: "true or false",
        shapes.ListType: "a list",
        shapes.DictType: "an object",
        shapes.StructType: "an object",
        shapes.DateTimeType: "a time such as 2026-01-31T12:00:00Z",
    }
    name = names.get(type(shape)) if shape is not None else None
    if name is None:
        return None
    bounds = [
        f"{words} {limit:g}"
        for key, words in (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below"))
        if (limit := getattr(shape, key, None)) is not None
    ]
    return " ".join([name, *bounds]) if bounds else name
