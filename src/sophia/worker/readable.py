"""Readable text from fetched pages, and the passages of it that matter for a question."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from sophia.nouns.errors import ConfigError, UpstreamError

if TYPE_CHECKING:
    from sophia.worker.fetching import Page

_HTML = frozenset({"text/html", "application/xhtml+xml"})
_WORD = re.compile(r"\w{3,}")
_BLANK_LINES = re.compile(r"\s*\n\s*\n\s*")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
LONGEST_PASSAGE = 600
"""Characters; longer paragraphs are ranked by their sentences."""


class Readable(msgspec.Struct, frozen=True, kw_only=True):
    title: str
    """Empty when the document has none."""
    text: str


async def read_page(page: Page) -> Readable:
    """The text a person would read. Raises ``UpstreamError`` when there is none."""
    if page.content_type in _HTML:
        # Parsing takes long enough to hold up heartbeats.
        readable = await asyncio.to_thread(_read_html, page)
    else:
        readable = Readable(title="", text=decoded(page))
    text = _BLANK_LINES.sub("\n\n", readable.text).strip()
    if not text:
        raise UpstreamError("it has no readable text")
    return Readable(title=" ".join(readable.title.split()), text=text)


def decoded(page: Page) -> str:
    """The body as text, by its declared charset, else as UTF-8; bytes that do not fit are replaced."""
    try:
        return page.body.decode(page.charset or "utf-8-sig", errors="replace")
    except LookupError:
        return page.body.decode("utf-8-sig", errors="replace")


def _read_html(page: Page) -> Readable:
    try:
        # Takes half a second to import, and is wanted by this task type only.
        import trafilatura
    except ImportError as error:
        raise ConfigError("reading HTML needs the `research` extra", mend="pip install 'sophia[research]'") from error
    # Without a declared charset its own detection looks at the document.
    content: str | bytes = decoded(page) if page.charset else page.body
    document = trafilatura.bare_extraction(content, url=page.url, include_comments=False, with_metadata=True)
    if document is None or isinstance(document, dict):
        return Readable(title="", text=trafilatura.html2txt(content))
    return Readable(title=document.title or "", text=document.text or trafilatura.html2txt(content))


def relevant(text: str, question: str, limit: int) -> str:
    """At most ``limit`` characters of ``text``: the passages that share most words with ``question``, in their order.

    Words that stand in few passages count more (inverse document frequency); the opening breaks ties, since pages
    say there what they are about.
    """
    if len(text) <= limit:
        return text
    passages = _passages(text)
    words = [set(_words(passage)) for passage in passages]
    spread = Counter(word for found in words for word in found)
    asked = set(_words(question))
    scores = [sum(1 / spread[word] for word in found & asked) for found in words]
    chosen: list[int] = []
    left = limit
    for index in sorted(range(len(passages)), key=lambda index: (-scores[index], index)):
        cost = len(passages[index]) + 1
        if cost <= left:
            chosen.append(index)
            left -= cost
    return "\n".join(passages[index] for index in sorted(chosen)) or text[:limit]


def support(statement: str, source: str) -> float:
    """Which share of the longer words of ``statement`` stands in ``source``: 0 to 1."""
    said = {word for word in _words(statement) if len(word) > 3}
    return len(said & set(_words(source))) / len(said) if said else 0.0


def _passages(text: str) -> list[str]:
    passages: list[str] = []
    for paragraph in filter(None, (line.strip() for line in text.splitlines())):
        passages += [paragraph] if len(paragraph) <= LONGEST_PASSAGE else _SENTENCE_END.split(paragraph)
    return passages


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
