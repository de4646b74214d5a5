"""Mending an append-only file that Valkey refuses to read because of the holes that a full disk has left in it."""

from __future__ import annotations

import logging
import mmap
import os
import re
from pathlib import Path

log = logging.getLogger(__name__)

FOLDER = "appendonlydir"
_LINE = re.compile(rb"([*$])([0-9]{1,10})\r\n")
_NOTE = re.compile(rb"#[^\r\n]{0,1000}\r\n")
_ZEROS = re.compile(rb"\0+")


class Unknown(Exception):
    """The file is damaged in another way, or is no append-only file."""


def mend_holes(data_dir: Path) -> int:
    """Take the holes out of a stopped server's files; gives their number. Nothing that was ever a command is lost.

    A hole is a run of zeros where a command would begin: Valkey 9.1 cuts off a piece that did not fit on the disk and
    writes all of it again later, but behind the place where the first one ended. Zeros inside of values are let alone. A
    file with any other damage stays as it is. Raises ``OSError``.
    """
    found = 0
    for path in sorted((data_dir / FOLDER).glob("*.incr.aof")):
        if not path.stat().st_size:
            continue
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                holes = _holes(data)
            except Unknown:
                continue
            if holes:
                _write_without(path, data, holes)
                found += len(holes)
                log.warning("took %d holes out of %s", len(holes), path)
    return found


def _holes(data: mmap.mmap) -> list[tuple[int, int]]:
    """Where they begin and end."""
    holes: list[tuple[int, int]] = []
    at = 0
    while at < len(data):
        if zeros := _ZEROS.match(data, at):
            holes.append(zeros.span())
            at = zeros.end()
        elif note := _NOTE.match(data, at):
            at = note.end()
        else:
            end = _command_end(data, at)
            if end is None:
                # Half a command at the end of a file is what a server cuts off by itself.
                break
            at = end
    return holes


def _command_end(data: mmap.mmap, at: int) -> int | None:
    """``None`` when the file ends before the command does. Raises ``Unknown``."""
    head = _line(data, at, b"*")
    if head is None:
        return None
    words, at = head
    for _ in range(words):
        word = _line(data, at, b"$")
        if word is None:
            return None
        length, at = word
        at += length + 2
        if at > len(data):
            return None
        if data[at - 2 : at] != b"\r\n":
            raise Unknown
    return at


def _line(data: mmap.mmap, at: int, kind: bytes) -> tuple[int, int] | None:
    found = _LINE.match(data, at)
    if found is not None and found[1] == kind:
        return int(found[2]), found.end()
    rest = data[at : at + 13]
    if at + len(rest) == len(data) and (not rest or (rest.startswith(kind) and b"\n" not in rest)):
        return None
    raise Unknown


def _write_without(path: Path, data: mmap.mmap, holes: list[tuple[int, int]]) -> None:
    """A crash in between leaves either file whole."""
    fresh = path.with_name(f"{path.name}.mended")
    with fresh.open("wb") as file, memoryview(data) as all_of_it:
        at = 0
        for begin, end in [*holes, (len(data), len(data))]:
            with all_of_it[at:begin] as part:
                file.write(part)
            at = end
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
