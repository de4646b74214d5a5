"""Merging settings: mappings deeply, everything else as a whole."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

NAMED = frozenset({"providers", "models", "pools", "fly_apps"})
"""Sections whose entries the user names; ``null`` there removes a packaged entry."""


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``over`` on top of ``base``; neither is changed."""
    merged = _merge(base, over)
    for section in NAMED & over.keys():
        if isinstance(over[section], dict) and isinstance(merged[section], dict):
            for name in [name for name, entry in over[section].items() if entry is None]:
                del merged[section][name]
    return merged


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = copy.deepcopy(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        merged[key] = _merge(below, value) if both else copy.deepcopy(value)  # type: ignore[arg-type]
    return merged


def put_first(mapping: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The same mapping with these keys first."""
    first = {name: mapping[name] for name in names if name in mapping}
    return first | {name: value for name, value in mapping.items() if name not in first}
