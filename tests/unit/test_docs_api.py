"""``docs/api.md`` names every problem that the product can answer with, and its status."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from sophia.gateway.errors import InternalError, problem
from sophia.nouns.errors import SophiaError

DOCS = Path(__file__).parents[2] / "docs" / "api.md"
ROW = re.compile(r"^\| (\d{3}) \| ((?:`\w+`(?:, )?)+) \|", re.MULTILINE)


def kinds(base: type[SophiaError] = SophiaError) -> Iterator[type[SophiaError]]:
    for kind in base.__subclasses__():
        if kind.__module__.startswith(("sophia.nouns.", "sophia.gateway.")):
            yield kind
            yield from kinds(kind)


def test_the_table_of_errors_is_complete_and_right() -> None:
    told = {
        code: int(status) for status, codes in ROW.findall(DOCS.read_text()) for code in re.findall(r"`(\w+)`", codes)
    }
    answers = [problem(kind("what is wrong")) for kind in kinds()]
    assert InternalError in set(kinds())
    assert told == {answer.code: answer.status for answer in answers}
