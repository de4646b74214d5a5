"""JSON Schema of ``sophia.yaml``, for editors and for checks outside Sophia."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import textwrap
from typing import Any

import msgspec

from sophia.nouns.pool import PoolSpec, Window
from sophia.settings import deployments, fields, inference, machines, model
from sophia.settings.merge import NAMED

SCHEMA_ID = "urn:sophia:schema:sophia.yaml:1"
_WHOLE = frozenset({"SecretRef", "RouteRule", "ApiKey", "Window", "ScheduleSettings", "Submission"})
"""Found in lists or standing alone: never merged with a packaged value, so always complete."""


def json_schema(*, partial: bool = False) -> dict[str, Any]:
    """The schema (2020-12) of the merged settings; ``partial``: of a user's file, which may leave anything out."""
    schema = msgspec.json.schema(model.Settings)
    definitions: dict[str, Any] = schema["$defs"]
    sections = {
        name: thing
        for module in (fields, deployments, inference, machines, model)
        for name, thing in vars(module).items()
    }
    sections |= {"PoolSpec": PoolSpec, "Window": Window}
    for name, definition in definitions.items():
        _describe(definition, sections.get(name))
        if partial and name not in _WHOLE:
            definition.pop("required", None)
    if partial:
        for section in NAMED:
            entries = definitions["Settings"]["properties"][section]
            entries["additionalProperties"] = {"anyOf": [entries["additionalProperties"], {"type": "null"}]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "sophia.yaml" if partial else "sophia.yaml, merged",
        **schema,
    }


def _describe(definition: dict[str, Any], struct: Any) -> None:
    """Titles in words for every key, and the docstrings under the fields as their descriptions."""
    notes = _field_notes(struct) if isinstance(struct, type) else {}
    for key, prop in definition.get("properties", {}).items():
        prop.setdefault("title", _title(key))
        if key in notes:
            prop.setdefault("description", notes[key])


def _title(key: str) -> str:
    words = key.split("_")
    if words[-1] == "s":
        words[-1] = "(seconds)"
    return " ".join(words).capitalize().replace("usd", "USD").replace("Usd", "USD")


def _field_notes(struct: type) -> dict[str, str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(struct)))
    except (OSError, TypeError):  # no source at hand, as in a frozen build: the schema holds without descriptions
        return {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    notes: dict[str, str] = {}
    for field, note in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(note, ast.Expr):
            text = ast.literal_eval(note.value) if isinstance(note.value, ast.Constant) else ""
            notes[field.target.id] = re.sub(r"\s+", " ", text.replace("``", "`")).strip()
    return notes
