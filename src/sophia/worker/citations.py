"""Citations in an answer: ``[1]`` refers to the source of that number, or it does not stay."""

from __future__ import annotations

import re
from collections.abc import Collection

_NUMBERS = r"\d{1,3}(?:\s*[-–,;]\s*\d{1,3})*"
_ONE = rf"[\[【](?:sources?\s*)?{_NUMBERS}[\]】]"
_RUN = re.compile(rf"(?P<space>[ \t]*)(?P<run>{_ONE}(?:[ \t]*{_ONE})*)", re.IGNORECASE)
_PART = re.compile(r"(\d+)(?:\s*[-–]\s*(\d+))?")


def keep_known(answer: str, known: Collection[int]) -> tuple[str, list[int]]:
    """The answer with only citations of ``known`` sources left, each as ``[n]``; and the cited numbers, ascending.

    ``[1, 3]``, ``[1-3]`` and ``[Source 2]`` are understood.
    """
    cited: set[int] = set()

    def kept(match: re.Match[str]) -> str:
        numbers = [number for number in _expanded(match["run"]) if number in known]
        cited.update(numbers)
        return match["space"] + "".join(f"[{number}]" for number in numbers) if numbers else ""

    text = _RUN.sub(kept, answer)
    return text.strip(), sorted(cited)


def with_citations(answer: str, numbers: Collection[int]) -> str:
    """The answer with citations put at its end."""
    marks = "".join(f"[{number}]" for number in sorted(numbers))
    return f"{answer.rstrip()} {marks}" if marks else answer


def _expanded(run: str) -> list[int]:
    found: list[int] = []
    for first, last in _PART.findall(run):
        found += range(int(first), int(last or first) + 1)
    return list(dict.fromkeys(found))
