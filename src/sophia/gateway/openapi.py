"""The OpenAPI 3.1 document, made from the operations table and the API's structs.

``python -m sophia.gateway.openapi`` prints it; nothing is started for that.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import re
import sys
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import msgspec

from sophia import __version__
from sophia.events.view import EventView
from sophia.gateway.openai_schemas import OpenAIProblem
from sophia.gateway.operation import Operation
from sophia.gateway.operations import OPERATIONS, TAGS
from sophia.gateway.schemas import Problem
from sophia.nouns.payloads import PAYLOADS, RESULTS

REF = "#/components/schemas/{name}"
ALWAYS_WITH_KEY = (401, 403)
ALWAYS = (503,)


def document(version: str = __version__) -> dict[str, Any]:
    """The whole document as JSON-ready data. Payloads and results of every task type are among its components."""
    structs = _structs()
    refs, components = msgspec.json.schema_components(structs, ref_template=REF)
    by_struct = dict(zip(structs, refs, strict=True))
    for struct in structs:
        _describe(struct, components)
    for schema in components.values():
        if "description" in schema:
            schema["description"] = _plain(schema["description"])
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, by_struct)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sophia",
            "version": version,
            "description": "Tasks for AI models: submitted here, queued durably, run where they are cheapest to run well.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": "Your API key."}},
        },
    }


def _structs() -> list[type[msgspec.Struct]]:
    found: dict[type[msgspec.Struct], None] = {Problem: None, OpenAIProblem: None, EventView: None}
    for operation in OPERATIONS:
        for struct in (operation.request, *(answer.body for answer in operation.answers)):
            if struct is not None:
                found[struct] = None
    found.update(dict.fromkeys([*PAYLOADS.values(), *RESULTS.values()]))
    return list(found)


def _operation(operation: Operation, refs: dict[type[msgspec.Struct], dict[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {"operationId": operation.id, "tags": [operation.tag], "summary": operation.summary}
    if operation.description:
        out["description"] = operation.description
    parameters = list(_parameters(operation))
    if parameters:
        out["parameters"] = parameters
    if operation.request is not None:
        out["requestBody"] = {
            "required": operation.request_required,
            "content": {operation.request_media: {"schema": refs[operation.request]}},
        }
    responses: dict[str, Any] = {}
    for answer in operation.answers:
        response = responses.setdefault(str(answer.status), {"description": answer.description})
        schema = refs[answer.body] if answer.body is not None else {"type": "string"}
        response.setdefault("content", {})[answer.media] = {"schema": schema}
        if answer.headers:
            response["headers"] = {
                name: {"description": text, "schema": {"type": "string"}} for name, text in answer.headers.items()
            }
    for status in (*operation.errors, *_of_keys(operation), *ALWAYS):
        responses.setdefault(str(status), _error(status, operation, refs))
    out["responses"] = dict(sorted(responses.items()))
    if not operation.auth:
        out["security"] = []
    return out


def _of_keys(operation: Operation) -> tuple[int, ...]:
    return ALWAYS_WITH_KEY if operation.auth else ()


def _error(status: int, operation: Operation, refs: dict[type[msgspec.Struct], dict[str, Any]]) -> dict[str, Any]:
    media = "application/json" if operation.openai else "application/problem+json"
    schema = refs[OpenAIProblem if operation.openai else Problem]
    return {"description": HTTPStatus(status).phrase, "content": {media: {"schema": schema}}}


def _parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"{(\w+)}", operation.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
    for param in operation.params:
        entry = {
            "name": param.name,
            "in": param.location,
            "required": False,
            "description": param.description,
            "schema": param.schema,
        }
        if param.schema["type"] == "array":
            entry |= {"style": "form", "explode": True}
        yield entry


def _describe(struct: type[msgspec.Struct], components: dict[str, Any]) -> None:
    """Put the strings that stand under a struct's fields into its schema, and those of the structs it holds."""
    seen: set[type] = set()
    waiting: list[type] = [struct]
    while waiting:
        cls = waiting.pop()
        if cls in seen:
            continue
        seen.add(cls)
        schema = components.get(cls.__name__, {})
        for name, text in field_docs(cls).items():
            if name in schema.get("properties", {}):
                schema["properties"][name]["description"] = text
        for field in msgspec.structs.fields(cls):
            waiting += _nested(field.type)


def _nested(kind: Any) -> list[type]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return [kind]
    return [found for arg in getattr(kind, "__args__", ()) for found in _nested(arg)]


def field_docs(struct: type) -> dict[str, str]:
    """The string under each field of a struct's source, as one line; empty without source files."""
    return _module_docs(struct.__module__).get(struct.__name__, {})


@functools.cache
def _module_docs(module: str) -> dict[str, dict[str, str]]:
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except OSError:
        return {}
    return {node.name: dict(_documented(node)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _documented(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, after in itertools.pairwise(node.body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            yield field.target.id, _plain(after.value.value)


def _plain(text: str) -> str:
    """A docstring as one line of Markdown."""
    return " ".join(text.split()).replace("``", "`")


def main() -> None:
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(document()), indent=2) + b"\n")


if __name__ == "__main__":
    main()
