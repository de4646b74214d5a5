"""Citations, search answers and passages."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sophia.nouns.errors import UpstreamError
from sophia.worker.citations import keep_known, with_citations
from sophia.worker.readable import relevant, support
from sophia.worker.search_results import result_urls, search_url


@pytest.mark.parametrize(
    ("answer", "text", "cited"),
    [
        ("Paris [1].", "Paris [1].", [1]),
        ("Paris [1, 3] and Rome [2][3].", "Paris [1][3] and Rome [2][3].", [1, 2, 3]),
        ("Paris [1-3].", "Paris [1][2][3].", [1, 2, 3]),
        ("Paris [Source 2].", "Paris [2].", [2]),
        ("Paris 【2】.", "Paris [2].", [2]),
        ("Paris [9].", "Paris.", []),
        ("Paris [1, 9].", "Paris [1].", [1]),
        ("In [2024] nothing happened.", "In [2024] nothing happened.", []),
        ("Nothing.", "Nothing.", []),
    ],
)
def test_only_citations_of_sources_that_exist_stay(answer: str, text: str, cited: list[int]) -> None:
    assert keep_known(answer, {1, 2, 3}) == (text, cited)


@given(st.text(alphabet="ab .[]0123456789,;-–【】source", max_size=80), st.sets(st.integers(1, 20)))
def test_what_is_reported_as_cited_is_what_the_text_cites(answer: str, known: set[int]) -> None:
    text, cited = keep_known(answer, known)
    assert set(cited) <= known
    assert all(f"[{number}]" in text for number in cited)
    assert keep_known(text, known)[1] == cited or re.search(r"[\[【]", re.sub(r"\[\d+\]", "", text))


def test_citations_are_put_at_the_end() -> None:
    assert with_citations("Paris. ", {2, 1}) == "Paris. [1][2]"
    assert with_citations("Paris.", []) == "Paris."


@pytest.mark.parametrize(
    "answer",
    [
        {"results": [{"url": "https://a.example/", "title": "A"}, {"url": "https://b.example/"}]},
        {"items": [{"link": "https://a.example/"}, {"link": "https://b.example/"}]},
        {"web": {"results": [{"url": "https://a.example/"}, {"url": "https://b.example/"}]}},
        [{"url": "https://a.example/"}, {"href": "https://b.example/"}, {"url": "ftp://c.example/"}, {"url": None}],
        ["https://a.example/", "https://b.example/", "https://a.example/", 7],
    ],
)
def test_the_usual_search_answers_are_read(answer: object) -> None:
    assert result_urls(msgspec.json.encode(answer)) == ["https://a.example/", "https://b.example/"]


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"results": 7}', b"3", b""])
def test_what_is_no_search_answer_is_an_error(body: bytes) -> None:
    with pytest.raises(UpstreamError):
        result_urls(body)


def test_the_query_goes_where_the_endpoint_wants_it() -> None:
    assert (
        search_url("https://s.example/search?format=json", "a & b") == "https://s.example/search?format=json&q=a+%26+b"
    )
    assert search_url("https://s.example/{query}/1", "a/b ?") == "https://s.example/a%2Fb%20%3F/1"


def test_the_passages_that_matter_are_kept_in_their_order() -> None:
    filler = "\n".join(f"Nothing of note happened on day {day}." for day in range(200))
    text = f"About this page.\n{filler}\nThe lighthouse was built in 1843.\n{filler}\nThe lighthouse keeper was Ada."
    kept = relevant(text, "Who was the keeper of the lighthouse, and when was it built?", 200)
    assert len(kept) <= 200
    assert kept.index("built in 1843") < kept.index("keeper was Ada")


@given(st.text(), st.text(), st.integers(0, 300))
def test_a_cut_text_is_never_longer_than_asked(text: str, question: str, limit: int) -> None:
    kept = relevant(text, question, limit)
    assert len(kept) <= limit
    assert len(text) > limit or kept == text


def test_support_is_the_share_of_longer_words_that_a_source_has() -> None:
    assert support("The lighthouse was red.", "A LIGHTHOUSE by the sea") == 1
    assert support("The lighthouse stands tall.", "a lighthouse by the sea") == pytest.approx(1 / 3)
    assert support("The cat and the dog.", "the sea and the sun") == 0
