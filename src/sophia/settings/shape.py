"""Checking plain values against the model, key by key, so that every mistake is named by its path."""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from sophia.settings.document import KeyPath, dotted
from sophia.settings.fields import SecretRef


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One mistake: where, what, and what would be accepted. Never contains the value at fault, which may be a secret."""

    path: KeyPath
    what: str
    mend: str = ""


def nearest(name: str, known: Iterable[str]) -> str:
    """The mend for an unknown name: the likeliest known one, or all of them while they are few."""
    choices = sorted(known)
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    if not choices:
        return "nothing is defined there"
    listed = ", ".join(choices[:12]) + (", …" if len(choices) > 12 else "")
    return f"known: {listed}"


def faults(value: Any, of: Any, path: KeyPath = ()) -> Iterator[Fault]:
    """Every place where ``value`` does not fit the type ``of``."""
    bare = _without_annotation(of)
    if get_origin(bare) in (Union, types.UnionType):
        yield from _union_faults(value, of, get_args(bare), path)
    elif (struct := _struct(of)) is not None:
        yield from _struct_faults(value, struct, path)
    elif get_origin(bare) is dict:
        found = list(_dict_faults(value, get_args(bare), path))
        yield from found or (_leaf_faults(value, of, path) if bare is not of else ())
    elif get_origin(bare) is tuple:
        if isinstance(value, list):
            for index, item in enumerate(value):
                yield from faults(item, get_args(bare)[0], (*path, index))
        else:
            yield Fault(path=path, what=f"must be a list, not {_kind(value)}", mend="write it as [ … ]")
    else:
        yield from _leaf_faults(value, of, path)


def _struct_faults(value: Any, struct: type[msgspec.Struct], path: KeyPath) -> Iterator[Fault]:
    if not isinstance(value, dict):
        if struct is SecretRef:
            yield Fault(
                path=path,
                what="must be a reference to an environment variable, never the secret itself",
                mend="write {env: NAME_OF_THE_VARIABLE}",
            )
        else:
            yield Fault(path=path, what=f"must be a mapping, not {_kind(value)}")
        return
    hints = get_type_hints(struct, include_extras=True)
    known = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for key, item in value.items():
        if key in known:
            yield from faults(item, hints[known[key].name], (*path, key))
        else:
            yield Fault(path=(*path, key), what="is not a known key", mend=nearest(key, known))
    for name, field in known.items():
        if field.required and name not in value:
            yield Fault(path=(*path, name), what="is missing")


def _dict_faults(value: Any, types_: tuple[Any, ...], path: KeyPath) -> Iterator[Fault]:
    if not isinstance(value, dict):
        yield Fault(path=path, what=f"must be a mapping, not {_kind(value)}")
        return
    for key, item in value.items():
        if any(True for _ in _leaf_faults(key, types_[0], (*path, key))):
            yield Fault(
                path=(*path, key),
                what="is not a valid name",
                mend="use lower-case letters, digits, - and _, beginning with a letter",
            )
        else:
            yield from faults(item, types_[1], (*path, key))


def _union_faults(value: Any, of: Any, members: tuple[Any, ...], path: KeyPath) -> Iterator[Fault]:
    if value is None and type(None) in members:
        return
    structs = [struct for m in members if (struct := _struct(m)) is not None]
    others = [m for m in members if m not in structs and m is not type(None)]
    if structs and (isinstance(value, dict) or not others):
        yield from _struct_faults(value, structs[0], path)
    elif len(others) == 1 and not structs:
        yield from faults(value, others[0], path)
    else:
        yield from _leaf_faults(value, of, path)


def _leaf_faults(value: Any, of: Any, path: KeyPath) -> Iterator[Fault]:
    bare = _without_annotation(of)
    known = _values(bare)
    if known:
        if value not in known:
            mend = nearest(value, known) if isinstance(value, str) else f"known: {', '.join(known)}"
            yield Fault(path=path, what="is not a known value", mend=mend)
        return
    try:
        msgspec.convert(value, of)
    except msgspec.ValidationError as error:
        yield Fault(path=path, what=_in_words(str(error), value))


def _values(of: Any) -> list[str]:
    """All there are, of an enumeration."""
    if get_origin(of) is Literal:
        return [str(value) for value in get_args(of)]
    return [str(member.value) for member in of] if isinstance(of, type) and issubclass(of, Enum) else []


_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
    "|": "or",
}


def _in_words(message: str, value: Any) -> str:
    """msgspec's message (``Expected `int` >= 1``) as the rest of a sentence that begins with the key."""
    text, _, got = message.partition(" - at ")[0].partition(", got ")
    text = re.sub(r"`([^`]+)`", lambda m: " ".join(_WORDS.get(w, w) for w in m[1].split()), text)
    text = text.replace("Expected ", "must be ").replace("matching regex", "of the form")
    return f"{text}, not {_kind(value)}" if got else text


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    names = {str: "text", int: "a whole number", float: "a number", dict: "a mapping", list: "a list"}
    return names.get(type(value), type(value).__name__)


def _without_annotation(of: Any) -> Any:
    return typing.get_args(of)[0] if get_origin(of) is Annotated else of


def _struct(of: Any) -> type[msgspec.Struct] | None:
    bare = _without_annotation(of)
    return bare if isinstance(bare, type) and issubclass(bare, msgspec.Struct) else None


def describe(fault: Fault, where: str) -> str:
    mend = f"; {fault.mend}" if fault.mend else ""
    return f"{where}: {dotted(fault.path)} {fault.what}{mend}"
