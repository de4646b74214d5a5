"""Fetching from a real server that misbehaves in every way we bound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from sophia.nouns.errors import InvalidInput, RateLimited, Unavailable, UpstreamError
from sophia.settings.inference import ResearchSettings
from sophia.worker.fetching import Fetcher, Page
from sophia.worker.readable import read_page
from tests.support.attempts import local_settings
from tests.support.models import free_port
from tests.support.web_pages import WebPages, web_pages

LIMITS: dict[str, Any] = {"fetch_timeout_s": 5.0, "max_page_bytes": 200_000, "max_redirects": 3, "concurrency": 2}


@pytest_asyncio.fixture
async def pages() -> AsyncIterator[WebPages]:
    async with web_pages() as served:
        yield served


def limits(**changes: Any) -> ResearchSettings:
    return local_settings(research={**LIMITS, **changes}).research


async def get(url: str, **changes: Any) -> Page:
    async with Fetcher(limits(**changes)) as fetcher:
        return await fetcher.get(url)


async def test_a_page_is_fetched_and_read(pages: WebPages) -> None:
    page = await get(pages.url("/lighthouse"))
    assert (page.url, page.content_type) == (pages.url("/lighthouse"), "text/html")
    readable = await read_page(page)
    assert readable.title == "The lighthouse of Norhaven"
    assert "built in 1843 by the engineer Ada Marsh" in " ".join(readable.text.split())
    assert "Cookies" not in readable.text


async def test_plain_text_is_read_in_its_charset(pages: WebPages) -> None:
    assert (await read_page(await get(pages.url("/latin")))).text == "Åse è là"


async def test_a_page_without_text_says_so(pages: WebPages) -> None:
    with pytest.raises(UpstreamError, match="no readable text"):
        await read_page(await get(pages.url("/empty")))


async def test_redirects_are_followed(pages: WebPages) -> None:
    page = await get(pages.url("/moved"))
    assert page.url == pages.url("/lighthouse")
    assert (await get(pages.url("/to") + "?url=/moved")).url == page.url


async def test_redirects_come_to_an_end(pages: WebPages) -> None:
    with pytest.raises(UpstreamError, match="more than 3 redirects"):
        await get(pages.url("/hops/100"))
    assert len(pages.paths) == 4


@pytest.mark.parametrize("target", ["file:///etc/passwd", "gopher://x/", "javascript:alert(1)", "http://[1/"])
async def test_redirects_lead_to_http_only(pages: WebPages, target: str) -> None:
    with pytest.raises(InvalidInput):
        await get(f"{pages.url('/to')}?url={target}")


@pytest.mark.parametrize("path", ["/declared", "/endless", "/bomb"])
async def test_a_page_that_is_too_large_is_not_read(pages: WebPages, path: str) -> None:
    with pytest.raises(UpstreamError, match="larger than 200000 bytes"):
        await get(pages.url(path))


@pytest.mark.parametrize("path", ["/slow", "/trickle"])
async def test_a_page_that_takes_too_long_is_given_up(pages: WebPages, path: str) -> None:
    with pytest.raises(Unavailable, match=r"no complete answer within 0\.3 s"):
        await get(pages.url(path), fetch_timeout_s=0.3)


async def test_a_page_that_is_not_text_is_refused(pages: WebPages) -> None:
    with pytest.raises(UpstreamError, match="image/png"):
        await get(pages.url("/image"))


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, UpstreamError), (403, UpstreamError), (204, UpstreamError), (408, Unavailable), (500, Unavailable)],
)
async def test_statuses_say_whether_a_later_try_may_help(pages: WebPages, status: int, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=f"HTTP {status}"):
        await get(pages.url(f"/status/{status}"))


async def test_a_site_that_asks_to_wait_is_heard(pages: WebPages) -> None:
    with pytest.raises(RateLimited) as limited:
        await get(pages.url("/status/429"))
    assert limited.value.retry_after_s == 7


async def test_no_connection_may_pass(pages: WebPages) -> None:
    with pytest.raises(Unavailable):
        await get(f"http://127.0.0.1:{free_port()}/")
    with pytest.raises(Unavailable):
        await get(pages.url("/broken"))


async def test_unknown_hosts_are_an_error_and_not_a_crash() -> None:
    with pytest.raises((UpstreamError, Unavailable)):
        await get("http://no-such-host.invalid/")


@pytest.mark.parametrize("url", ["ftp://example.org/", "http://", "nonsense", "http://[1/"])
async def test_what_is_no_web_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        await get(url)


async def test_places_are_limited(pages: WebPages) -> None:
    async with Fetcher(limits()) as fetcher, asyncio.TaskGroup() as group:
        for _ in range(6):
            group.create_task(fetcher.get(pages.url("/busy")))
    assert pages.most_at_once == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"])
async def test_private_addresses_are_refused_by_the_address_that_is_connected_to(pages: WebPages, host: str) -> None:
    port = pages.base.rpartition(":")[2]
    with pytest.raises(InvalidInput, match="not on the public internet"):
        await get(f"http://{host}:{port}/lighthouse", allow_private_addresses=False)
    assert pages.paths == []


@pytest.mark.parametrize("host", ["127.1", "0x7f000001", "2130706433", "017700000001"])
async def test_odd_spellings_of_private_addresses_are_refused(pages: WebPages, host: str) -> None:
    port = pages.base.rpartition(":")[2]
    with pytest.raises((InvalidInput, UpstreamError)):
        await get(f"http://{host}:{port}/lighthouse", allow_private_addresses=False)
    assert pages.paths == []
