"""Option values in the forms that people write."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import msgspec

_DURATION = re.compile(r"^(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?$")


def seconds_of(text: str) -> float | None:
    """``90``, ``90s``, ``5m``, ``1h30m``, ``2d`` in seconds; ``None`` when it is not a duration."""
    match = _DURATION.match(text.strip())
    if match is None or not any(match.groups()):
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


class Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        seconds = seconds_of(value)
        if seconds is None or seconds <= 0:
            self.fail(f"{value!r} is not a duration; write 90s, 5m or 1h30m", param, ctx)
        return seconds


class Moment(click.ParamType[str]):
    """A moment as RFC 3339, given as one or as a duration from now."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        seconds = seconds_of(str(value).removeprefix("+"))
        if seconds is not None:
            return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a time; write 10m (from now) or 2026-01-31T18:00:00+01:00", param, ctx)
        return (moment if moment.tzinfo else moment.astimezone()).isoformat()


class Pair(click.ParamType[tuple[str, str]]):
    """``key=value``."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        key, equals, rest = value.partition("=")
        if not equals or not key:
            self.fail(f"{value!r} is not of the form key=value", param, ctx)
        return key, rest


def json_or_text(text: str) -> Any:
    """``3``, ``true``, ``[1, 2]`` as what they say; anything else as itself."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
