"""Writing to people and to programs."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
import msgspec

if TYPE_CHECKING:
    from rich.console import Console

WIDE = 200
"""Columns where nobody looks: a pipe must not cut ids and reasons short."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def console(*, stderr: bool = False) -> Console:
    """A rich console: colours on a terminal only."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    # Asked of the terminal itself when there is one; COLUMNS has its say in both cases.
    width = None if stream.isatty() else shutil.get_terminal_size((WIDE, 50)).columns
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def print_json(value: Any) -> None:
    """Exactly one JSON document on stdout."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def clean(text: str) -> str:
    """Without control characters: what a model or a web page says must not drive the terminal."""
    return _CONTROL.sub("", text.replace("\r\n", "\n"))


def one_line(text: str, width: int) -> str:
    flat = " ".join(clean(text).split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"


def fitting(columns: Mapping[str, Sequence[str]], wanted: Sequence[str], width: int) -> list[str]:
    """The columns for which there is room, uncut, in their order; the first three ``wanted`` in any case, then as many
    as fit. A cut id is of no use."""
    shown: list[str] = []
    for name in wanted:
        width -= max(len(name), *map(len, columns[name])) + 2
        if width < 0 and len(shown) >= 3:
            break
        shown.append(name)
    return [name for name in columns if name in shown]


def note(text: str) -> None:
    """For the person, not for the pipe."""
    click.echo(text, err=True)
