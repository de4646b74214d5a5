"""A task as the queue's entries hold it: values without their names, and of what has a default only what differs from it,
because every queued task pays for each byte."""

from __future__ import annotations

from typing import Any

import msgspec

from sophia.nouns.task import Route, Target, Task

_encode = msgspec.json.Encoder().encode

_optional = tuple(field for field in msgspec.structs.fields(Task) if not field.required)
_NAMES = tuple(field.name for field in _optional)
_Rest: Any = msgspec.defstruct(
    "_Rest",
    [
        (
            field.name,
            field.type,
            msgspec.field(default_factory=field.default_factory)
            if field.default is msgspec.NODEFAULT
            else msgspec.field(default=field.default),
        )
        for field in _optional
    ],
    kw_only=True,
    omit_defaults=True,
)
"""The fields of a task that have a default."""


class _Body(msgspec.Struct, array_like=True):
    id: str
    """First: scripts find it by its place."""
    payload: dict[str, Any]
    type: str
    stream: str
    target: Target
    reason: str
    submitted_at_ms: int
    rest: _Rest | None = None


_decode = msgspec.json.Decoder(_Body).decode


def pack(task: Task) -> bytes:
    route = task.route
    values: list[Any] = [
        task.id,
        task.payload,
        task.type,
        route.stream,
        route.target,
        route.reason,
        task.submitted_at_ms,
    ]
    rest = _encode(_Rest(**{name: getattr(task, name) for name in _NAMES}))
    if rest != b"{}":
        values.append(msgspec.Raw(rest))
    return _encode(values)


def unpack(body: bytes) -> Task:
    """Raises ``msgspec.MsgspecError`` for what ``pack`` did not make."""
    found = _decode(body)
    return Task(
        id=found.id,
        payload=found.payload,
        type=found.type,
        route=Route(stream=found.stream, target=found.target, reason=found.reason),
        submitted_at_ms=found.submitted_at_ms,
        **({name: getattr(found.rest, name) for name in _NAMES} if found.rest is not None else {}),
    )
