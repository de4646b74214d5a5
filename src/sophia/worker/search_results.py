"""Asking a JSON search endpoint, and reading the answers of the usual ones."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec
from yarl import URL

from sophia.nouns.errors import UpstreamError

_LISTS = ("results", "items", "data", "organic_results", "value", "web", "webPages")
_LINKS = ("url", "link", "href")


def search_url(endpoint: str, query: str) -> str:
    """The endpoint with ``{query}`` filled in, else with ``q=`` appended."""
    if "{query}" in endpoint:
        return endpoint.replace("{query}", quote(query, safe=""))
    return str(URL(endpoint).update_query(q=query))


def result_urls(body: bytes) -> list[str]:
    """The http(s) URLs that a search answer lists, in its order, each once.

    Reads SearxNG's ``results[].url``, ``items[].link``, the lists of other common search APIs, and a plain list.
    Raises ``UpstreamError`` when it is no JSON or lists nothing of the kind.
    """
    try:
        answer = msgspec.json.decode(body)
    except msgspec.MsgspecError as error:
        raise UpstreamError(f"the search endpoint did not answer with JSON: {error}") from error
    entries = _entries(answer)
    if entries is None:
        raise UpstreamError("the search endpoint's answer has no list of results")
    links = (_link(entry) for entry in entries)
    return list(dict.fromkeys(link for link in links if link.startswith(("http://", "https://"))))


def _entries(answer: Any, depth: int = 0) -> list[Any] | None:
    if isinstance(answer, list):
        return answer
    if isinstance(answer, dict) and depth < 3:
        for key in _LISTS:
            found = _entries(answer.get(key), depth + 1)
            if found is not None:
                return found
    return None


def _link(entry: Any) -> str:
    if isinstance(entry, dict):
        entry = next((entry[key] for key in _LINKS if isinstance(entry.get(key), str)), "")
    return entry if isinstance(entry, str) else ""
