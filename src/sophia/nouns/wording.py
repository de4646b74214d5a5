"""Words that errors of several layers share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """The likeliest known name, and all of them."""
    choices = list(known)
    close = difflib.get_close_matches(name, choices, n=1)
    listed = "known: " + ", ".join(choices)
    return f"did you mean {close[0]}? {listed}" if close else listed
