"""The OpenAPI document and the page made from it."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import jsonschema
import msgspec

from sophia.gateway.app import HANDLERS
from sophia.gateway.docs_page import render
from sophia.gateway.openapi import document, field_docs
from sophia.gateway.operations import OPERATIONS
from sophia.gateway.schemas import TaskView
from sophia.nouns.payloads import PAYLOADS, RESULTS
from sophia.nouns.submission import Submission


def test_every_operation_has_a_handler_and_a_place_in_the_document() -> None:
    described = document()
    found = {entry["operationId"] for methods in described["paths"].values() for entry in methods.values()}
    assert found == set(HANDLERS) == {operation.id for operation in OPERATIONS}


def test_every_reference_leads_somewhere_and_every_schema_is_valid() -> None:
    described = document()
    schemas = described["components"]["schemas"]
    for reference in re.findall(r'"#/components/schemas/(\w+)"', msgspec.json.encode(described).decode()):
        assert reference in schemas
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    assert {struct.__name__ for struct in (*PAYLOADS.values(), *RESULTS.values())} <= set(schemas)


def test_fields_carry_the_words_of_the_source() -> None:
    assert field_docs(Submission)["deadline_at"] == "Fail when it cannot start by then."
    properties = document()["components"]["schemas"]["RouteView"]["properties"]
    assert properties["stream"]["description"] == "`stream:planning` and the like."


def test_errors_have_the_shape_of_their_path() -> None:
    def shape(path: str, method: str, status: str) -> Any:
        (media,) = document()["paths"][path][method]["responses"][status]["content"].items()
        return media[0], media[1]["schema"]["$ref"].rpartition("/")[2]

    assert shape("/v1/tasks", "post", "422") == ("application/problem+json", "Problem")
    assert shape("/v1/chat/completions", "post", "404") == ("application/json", "OpenAIProblem")


def test_only_service_paths_are_open() -> None:
    open_ = {
        path
        for path, methods in document()["paths"].items()
        for entry in methods.values()
        if entry.get("security") == []
    }
    # A host that joins has no key yet: its token is in the body.
    assert open_ == {"/health", "/ready", "/config.json", "/v1/hosts/join"}


def test_times_are_times_for_generated_clients() -> None:
    properties = document()["components"]["schemas"][TaskView.__name__]["properties"]
    assert properties["submitted_at"] == {"type": "string", "format": "date-time"}


def test_the_module_prints_the_document_without_starting_anything() -> None:
    printed = subprocess.run(
        [sys.executable, "-W", "error", "-m", "sophia.gateway.openapi"], capture_output=True, check=True, timeout=60
    )
    assert msgspec.json.decode(printed.stdout) == document()


def test_the_page_is_whole_without_the_network() -> None:
    page = render(document())
    assert "<script" not in page
    assert not re.search(r"(src|href)='https?:", page)
    for operation in OPERATIONS:
        assert f"id='{operation.id}'" in page
    for target in re.findall(r"href='#(\w+)'", page):
        assert f"id='{target}'" in page
