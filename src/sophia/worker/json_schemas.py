"""JSON Schemas that more providers take."""

from __future__ import annotations

from typing import Any

_STRING_LENGTHS = frozenset({"minLength", "maxLength"})


def without_string_lengths(schema: Any) -> Any:
    """The same schema without bounds on strings, which OpenAI's strict mode refuses (its guide to structured outputs,
    "Supported schemas"); small models need them where they are understood, to come to an end."""
    if isinstance(schema, dict):
        lengths = _STRING_LENGTHS if schema.get("type") == "string" else frozenset()
        return {key: without_string_lengths(value) for key, value in schema.items() if key not in lengths}
    if isinstance(schema, list):
        return [without_string_lengths(value) for value in schema]
    return schema
