"""Payloads, as they are checked at submission and in the worker."""

from __future__ import annotations

from typing import Any

import pytest

from sophia.nouns.errors import InvalidInput
from sophia.nouns.payload_checks import decode
from sophia.nouns.payloads import INTERNAL_PAYLOADS, INTERNAL_RESULTS, PAYLOADS, RESULTS, BatchEmbedding, LongPlanning
from sophia.nouns.task import TaskType
from sophia.worker.handlers import HANDLERS, decode_payload
from tests.support.tasks import make_task


@pytest.mark.parametrize(
    ("task_type", "payload", "field"),
    [
        ("long_planing", {"goal": "x"}, "type"),
        ("long_planning", {}, "payload.goal"),
        ("long_planning", {"goal": ""}, "payload.goal"),
        ("long_planning", {"goal": "x", "max_step": 3}, "payload.max_step"),
        ("long_planning", {"goal": "x", "max_steps": "3"}, "payload.max_steps"),
        ("long_planning", {"goal": "x", "max_steps": 0}, "payload.max_steps"),
        ("long_planning", [], "payload"),
        ("long_planning", None, "payload"),
        ("batch_embedding", {"texts": ["a", 3]}, "payload.texts[1]"),
        ("batch_embedding", {"texts": ["a", ""]}, "payload.texts[1]"),
        ("batch_embedding", {"texts": []}, "payload.texts"),
        ("batch_embedding", {"texts": ["a"], "encoding": "hex"}, "payload.encoding"),
        ("batch_embedding", {"texts": ["a", "b", "c"]}, "payload.texts"),
        ("web_research", {"question": "x"}, "payload.urls"),
        ("web_research", {"question": "x", "urls": ["file:///etc/passwd"]}, "payload.urls[0]"),
        ("web_research", {"question": "x", "search": {}}, "payload.search.url"),
        ("web_research", {"question": "x", "search": {"url": "https://s", "key": "k"}}, "payload.search.key"),
        ("light", {"prompt": "x", "temperature": 3}, "payload.temperature"),
    ],
)
def test_what_is_wrong_is_named(task_type: str, payload: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        decode(task_type, payload, max_texts=2)
    assert refused.value.field == field


def test_a_mistyped_task_type_gets_the_nearest_one() -> None:
    with pytest.raises(InvalidInput) as refused:
        decode("long_planing", {})
    assert refused.value.mend is not None
    assert refused.value.mend.startswith("did you mean long_planning?")


def test_an_unknown_field_gets_the_known_ones() -> None:
    with pytest.raises(InvalidInput) as refused:
        decode("light", {"prompts": "x"})
    assert refused.value.mend is not None
    assert "prompt, system" in refused.value.mend


def test_what_was_accepted_is_run_even_if_the_limit_was_lowered_since() -> None:
    task = make_task(type="batch_embedding", payload={"texts": ["a"] * 5})
    decoded = decode_payload(task)
    assert isinstance(decoded, BatchEmbedding)
    assert len(decoded.texts) == 5


def test_every_type_has_a_payload_a_result_and_a_handler() -> None:
    assert set(PAYLOADS) == set(RESULTS)
    assert set(INTERNAL_PAYLOADS) == set(INTERNAL_RESULTS)
    assert {*PAYLOADS, *INTERNAL_PAYLOADS} == set(HANDLERS) == {kind.value for kind in TaskType}


def test_a_good_payload_is_decoded() -> None:
    assert decode("long_planning", {"goal": "x"}) == LongPlanning(goal="x")
