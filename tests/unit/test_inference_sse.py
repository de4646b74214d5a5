"""Event streams, however the network cuts them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sophia.inference.sse import MAX_EVENT_BYTES, SseParser
from sophia.nouns.errors import UpstreamError

STREAM = (
    ": a comment\n\n"
    'data: {"a": "é 🚀"}\n\n'
    "event: chunk\r\nid: 7\r\ndata:{}\r\n\r\n"
    "data: one\ndata: two\n\n"
    "retry: 100\n\n"
    "data\n\n"
    "data: [DONE]\n\n"
    "data: unfinished"
).encode()
EVENTS = ['{"a": "é 🚀"}'.encode(), b"{}", b"one\ntwo", b"", b"[DONE]"]


@given(st.lists(st.integers(0, len(STREAM)), max_size=30))
def test_events_do_not_depend_on_how_the_bytes_arrive(cuts: list[int]):
    places = [0, *sorted(cuts), len(STREAM)]
    parser = SseParser()
    events = [event for start, end in itertools.pairwise(places) for event in parser.feed(STREAM[start:end])]
    assert events == EVENTS


def test_an_event_without_end_is_refused():
    parser = SseParser()
    parser.feed(b"data: " + b"x" * (MAX_EVENT_BYTES - 6))
    with pytest.raises(UpstreamError, match="larger"):
        parser.feed(b"x")
