"""From the arguments of ``sophia submit`` to the body of a submission."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from sophia.cli.values import json_or_text
from sophia.nouns.payloads import PAYLOADS
from sophia.nouns.task import TaskType

TEXT_FIELD = {
    TaskType.LONG_PLANNING: "goal",
    TaskType.CODE_GENERATION: "prompt",
    TaskType.WEB_RESEARCH: "question",
    TaskType.LIGHT: "prompt",
}
_ONLY_FOR = {
    "urls": (TaskType.WEB_RESEARCH, "--url"),
    "search": (TaskType.WEB_RESEARCH, "--search-url"),
    "language": (TaskType.CODE_GENERATION, "--language"),
}


class TypeName(click.ParamType[str]):
    """A task type; ``long-planning`` is understood too. Unknown ones pass: the platform may know more than we do."""

    name = "type"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(value).strip().replace("-", "_")


def build_payload(
    task_type: str,
    texts: Sequence[str],
    *,
    file: str | None,
    payload: str | None,
    settings: Sequence[tuple[str, str]],
    fields: Mapping[str, Any],
) -> dict[str, Any]:
    """The payload of a submission. ``fields`` are those that options of their own gave; ``None`` is not given.

    ``payload`` (JSON or ``@file``) is the base, the text and the options go over it, ``settings`` (``--set``) over all.
    """
    built = _json_object(payload) if payload is not None else {}
    if payload is None and task_type not in PAYLOADS:
        raise click.UsageError(f"unknown task type {task_type!r}; {_known(task_type)}")
    built.update(_from_text(task_type, _words(task_type, texts, file)))
    for name, value in fields.items():
        if value is None:
            continue
        only, option = _ONLY_FOR.get(name, (None, ""))
        if only is not None and only != task_type:
            also = "; the platform's address is --platform-url here" if option == "--url" else ""
            raise click.UsageError(f"{option} is for {only}, not for {task_type}{also}")
        built[name] = value
    for key, text in settings:
        _set(built, key, json_or_text(text))
    if not built:
        raise click.UsageError(f"nothing to do: {_needed(task_type)}")
    return built


def _words(task_type: str, texts: Sequence[str], file: str | None) -> list[str]:
    """The texts given as arguments, in a file, or on stdin."""
    if file is not None and texts:
        raise click.UsageError("give the text as an argument or with --file, not both")
    if file is not None:
        content = _read(file)
    elif list(texts) == ["-"]:
        content = _read("-")
    else:
        return list(texts)
    if task_type == TaskType.BATCH_EMBEDDING:
        return [line for line in content.splitlines() if line.strip()]
    return [content.strip()]


def _from_text(task_type: str, texts: list[str]) -> dict[str, Any]:
    if not texts:
        return {}
    if task_type == TaskType.BATCH_EMBEDDING:
        return {"texts": texts}
    field = TEXT_FIELD.get(task_type)  # type: ignore[call-overload]
    if field is None:
        raise click.UsageError(f"where the text goes is not known for {task_type!r}; use --payload or --set")
    if len(texts) > 1:
        raise click.UsageError(f"{task_type} takes one text; put quotes around it")
    return {field: texts[0]}


def _json_object(text: str) -> dict[str, Any]:
    raw = _read(text[1:]) if text.startswith("@") else text
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except msgspec.ValidationError as error:
        raise click.UsageError('--payload must be a JSON object, such as \'{"prompt": "…"}\'') from error
    except msgspec.DecodeError as error:
        raise click.UsageError(f"--payload is not valid JSON: {error}") from error


def _read(name: str) -> str:
    try:
        return sys.stdin.read() if name == "-" else Path(name).expanduser().read_text(encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"{name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{'stdin' if name == '-' else name} is not UTF-8 text") from error


def _set(payload: dict[str, Any], key: str, value: Any) -> None:
    """``search.url=…`` sets the field within the field."""
    *outer, last = key.split(".")
    for part in outer:
        inner = payload.setdefault(part, {})
        if not isinstance(inner, dict):
            raise click.UsageError(f"--set {key}: {part} is not a mapping")
        payload = inner
    payload[last] = value


def _known(task_type: str) -> str:
    close = difflib.get_close_matches(task_type, PAYLOADS, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(PAYLOADS)}"


def _needed(task_type: str) -> str:
    if task_type == TaskType.BATCH_EMBEDDING:
        return "give texts as arguments, with --file, or on stdin with -"
    field = TEXT_FIELD.get(task_type)  # type: ignore[call-overload]
    return f"give the {field} as an argument, in quotes" if field else "give --payload or --set"
