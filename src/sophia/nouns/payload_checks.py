"""Payloads decoded and checked: the same at submission and in the worker."""

from __future__ import annotations

import difflib
import re
from typing import Any

import msgspec

from sophia.nouns.errors import InvalidInput
from sophia.nouns.payloads import INTERNAL_PAYLOADS, PAYLOADS, BatchEmbedding, WebResearch

_PATH = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
_MISSING = re.compile(r"missing required field `([^`]+)`")
_UNKNOWN = re.compile(r"unknown field `([^`]+)`")


def decode(task_type: str, payload: Any, *, max_texts: int | None = None, internal: bool = False) -> msgspec.Struct:
    """The payload struct of a task type, checked in full (see ``check`` for ``max_texts``). ``internal``: also of types
    that only the platform submits.

    Raises ``InvalidInput`` that names the field (``type``, or ``payload.texts[3]``) and what would be accepted.
    """
    struct = PAYLOADS.get(task_type) or (INTERNAL_PAYLOADS.get(task_type) if internal else None)
    if struct is None:
        raise InvalidInput(f"there is no task type {task_type!r}", field="type", mend=_known_types(task_type))
    try:
        decoded = msgspec.convert(payload, type=struct)
    except msgspec.ValidationError as error:
        raise _translated(str(error), struct) from error
    check(decoded, max_texts=max_texts)
    return decoded


def check(payload: msgspec.Struct, *, max_texts: int | None = None) -> None:
    """What one field's type cannot say. ``max_texts``: the most texts of one embedding task, where that is limited.

    Raises ``InvalidInput`` that names the field.
    """
    if isinstance(payload, WebResearch) and not payload.urls and payload.search is None:
        raise InvalidInput(
            "there is nothing to read", field="payload.urls", mend="give `urls`, a `search` endpoint, or both"
        )
    if isinstance(payload, BatchEmbedding) and max_texts is not None and len(payload.texts) > max_texts:
        raise InvalidInput(
            f"{len(payload.texts)} texts are too many for one task",
            field="payload.texts",
            mend=f"at most {max_texts} texts; split them over several tasks",
        )


def _known_types(task_type: str) -> str:
    near = difflib.get_close_matches(task_type, PAYLOADS, n=1)
    known = "known types: " + ", ".join(PAYLOADS)
    return f"did you mean {near[0]}? {known}" if near else known


def _translated(message: str, struct: type[msgspec.Struct]) -> InvalidInput:
    """msgspec says ``Expected `int`, got `str` - at `$.max_steps` ``; the path moves into ``field``."""
    match = _PATH.match(message)
    what, path = (match["what"], match["path"]) if match else (message, None)
    field = "payload" + (path or "$").removeprefix("$")
    mend = None
    if named := _MISSING.search(what) or _UNKNOWN.search(what):
        field = f"{field}.{named[1]}"
        if field.count(".") == 1:
            mend = "fields: " + ", ".join(struct.__struct_fields__)
    return InvalidInput(what, field=field, mend=mend)
