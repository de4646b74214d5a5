"""Research on real pages, with a provider that says what the test needs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sophia.nouns.errors import InvalidResult, LeaseLost, Unavailable, UpstreamError
from tests.support.attempts import Recorded, local_settings
from tests.support.models import make_models
from tests.support.scripted_chat import Answer, ScriptedChat, says, scripted_chat
from tests.support.web_pages import WebPages, web_pages

QUESTION = "When was the lighthouse of Norhaven built?"
ANSWER = "The lighthouse was built in 1843"


@asynccontextmanager
async def research(*answers: Answer) -> AsyncIterator[tuple[WebPages, ScriptedChat, Any]]:
    async with web_pages() as pages, scripted_chat(*answers) as chat:
        models = make_models(chat_url=chat.url)

        def start(*paths: str, limits: dict[str, Any] | None = None, **payload: Any) -> Recorded:
            settings = local_settings(research={"fetch_timeout_s": 5.0, **(limits or {})})
            urls = [path if path.startswith("http") else pages.url(path) for path in paths]
            fields = {"question": QUESTION, "urls": urls, **payload}
            return Recorded(models, "web_research", fields, settings=settings)

        try:
            yield pages, chat, start
        finally:
            await models.close()


async def test_the_answer_cites_the_sources_that_were_read() -> None:
    async with research(says(f"{ANSWER} [1], and the museum opens at ten [2][7].")) as (pages, chat, start):
        recorded = start("/lighthouse", "/museum")
        result = await recorded.run()
    assert result.answer == f"{ANSWER} [1], and the museum opens at ten [2]."
    assert result.citations == [1, 2]
    first, second = result.sources
    assert (first.number, first.title, first.error) == (1, "The lighthouse of Norhaven", None)
    assert first.url == pages.url("/lighthouse")
    assert first.characters > 100
    assert "1843" in first.excerpt
    assert second.title == second.url
    assert "Ada Marsh" in chat.prompt(0)
    assert QUESTION in chat.prompt(0)
    assert recorded.notes[-1] == "2 sources cited"


async def test_a_source_that_failed_is_listed_and_cannot_be_cited() -> None:
    async with research(says(f"{ANSWER} [1][2].")) as (_, chat, start):
        result = await start("/status/404", "/lighthouse").run()
    assert result.citations == [2]
    assert result.answer == f"{ANSWER} [2]."
    assert "HTTP 404" in result.sources[0].error
    assert result.sources[0].characters == 0
    assert "[2] The lighthouse" in chat.prompt(0)


async def test_a_model_that_cites_nothing_is_asked_which_sources_its_answer_rests_on() -> None:
    async with research(says(f"{ANSWER}."), says('{"sources": [1, 1, 2]}')) as (_, chat, start):
        result = await start("/lighthouse", "/museum").run()
    # The museum's page has none of the answer's words, whatever the model says.
    assert result.answer == f"{ANSWER}. [1]"
    assert result.citations == [1]
    items = chat.requests[1]["response_format"]["json_schema"]["schema"]["properties"]["sources"]["items"]
    assert items["enum"] == [1, 2]


async def test_an_answer_that_rests_on_no_source_has_no_citation() -> None:
    async with research(says("Bananas grow upwards."), says('{"sources": [1]}')) as (_, _chat, start):
        result = await start("/lighthouse").run()
    assert (result.answer, result.citations) == ("Bananas grow upwards.", [])


async def test_search_results_fill_up_the_given_urls() -> None:
    async with research(says(f"{ANSWER} [2].")) as (pages, _, start):
        found = ["/museum", "/lighthouse", "/latin", "/busy"]
        pages.search_results = {"results": [{"url": pages.url(path), "title": path} for path in found]}
        search = {"url": pages.url("/search?format=json")}
        result = await start("/museum", search=search, max_sources=3).run()
        assert [source.url for source in result.sources] == [pages.url(path) for path in found[:3]]
        assert "/search?format=json&q=When+was+the+lighthouse+of+Norhaven+built?" in pages.paths
    assert result.citations == [2]


async def test_all_given_urls_are_read_even_if_there_are_more_than_max_sources() -> None:
    async with research(says(f"{ANSWER} [1].")) as (_, _chat, start):
        result = await start("/lighthouse", "/museum", "/latin", max_sources=1).run()
    assert len(result.sources) == 3


async def test_a_search_that_fails_is_a_failed_source() -> None:
    async with research(says(f"{ANSWER} [1].")) as (pages, _, start):
        result = await start("/lighthouse", search={"url": pages.url("/museum")}).run()
    assert result.citations == [1]
    assert "did not answer with JSON" in result.sources[1].error


async def test_nothing_found_and_nothing_given_is_an_error_that_says_so() -> None:
    async with research() as (pages, _, start):
        pages.search_results = {"results": []}
        with pytest.raises(UpstreamError, match="the search found nothing"):
            await start(search={"url": pages.url("/search")}).run()


async def test_when_no_source_can_be_read_the_error_names_each() -> None:
    async with research() as (_, chat, start):
        with pytest.raises(UpstreamError, match=r"/status/404: HTTP 404.*; .*/status/500: HTTP 500"):
            await start("/status/404", "/status/500").run()
        assert chat.requests == []


async def test_when_all_failures_may_pass_the_task_is_worth_a_retry() -> None:
    async with research() as (_, _chat, start):
        with pytest.raises(Unavailable) as failed:
            await start("/status/500", "/slow", "/status/429", limits={"fetch_timeout_s": 0.5}).run()
    assert failed.value.retry_after_s == 7


async def test_private_addresses_are_refused_where_they_are_not_allowed() -> None:
    async with research() as (pages, _, start):
        with pytest.raises(UpstreamError, match="not on the public internet"):
            await start("/lighthouse", limits={"allow_private_addresses": False}).run()
        assert pages.paths == []


async def test_many_long_sources_fit_the_models_context() -> None:
    async with research(says(f"{ANSWER} [1].")) as (_, chat, start):
        await start("/lighthouse", "/declared", "/museum", "/latin").run()
    sent = sum(len(message["content"]) for message in chat.requests[0]["messages"])
    # 4,096 tokens of context less 1,024 for the answer, at three characters a token.
    assert sent < 3 * 3072


async def test_an_empty_answer_is_no_result() -> None:
    async with research(says(" [9] ")) as (_, _chat, start):
        with pytest.raises(InvalidResult, match="empty answer"):
            await start("/lighthouse").run()


async def test_a_lost_lease_looks_like_one() -> None:
    async with research() as (_, _chat, start):
        recorded = start("/lighthouse", "/museum")
        recorded.refuse_events_with = LeaseLost("the attempt is another worker's")
        with pytest.raises(LeaseLost):
            await recorded.run()
