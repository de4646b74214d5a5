"""What an operation of the HTTP API is."""

from __future__ import annotations

from typing import Any

import msgspec


class Param(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter outside the body; path parameters are found in the path itself."""

    name: str
    description: str
    schema: dict[str, Any]
    location: str = "query"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    status: int
    description: str
    body: type[msgspec.Struct] | None = None
    media: str = "application/json"
    headers: dict[str, str] = {}


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """``errors`` are the statuses that this operation can add to those every operation has."""

    id: str
    method: str
    path: str
    tag: str
    summary: str
    description: str = ""
    request: type[msgspec.Struct] | None = None
    request_required: bool = True
    request_media: str = "application/json"
    answers: tuple[Answer, ...]
    errors: tuple[int, ...] = ()
    params: tuple[Param, ...] = ()
    auth: bool = True
    operator: bool = False
    """Only for keys with ``operator: true``."""

    @property
    def openai(self) -> bool:
        """Whether errors have OpenAI's shape."""
        return self.tag == "openai"


def text(name: str, description: str, **schema: Any) -> Param:
    return Param(name=name, description=description, schema={"type": "string", **schema})


def number(name: str, description: str, most: int, default: int) -> Param:
    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    return Param(name=name, description=description, schema=schema)


def several(name: str, description: str, values: list[str] | None = None) -> Param:
    items: dict[str, Any] = {"type": "string"} if values is None else {"type": "string", "enum": values}
    return Param(name=name, description=description, schema={"type": "array", "items": items})
