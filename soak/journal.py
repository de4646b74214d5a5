"""What handlers really did, written down where neither the queue nor a killed worker can change it."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """``what``: ``begin``, or how the handler ended: ``result``, ``error``, ``stopped``."""

    task: int
    attempt: int
    pid: int
    what: str


class Journal:
    """One file per process. A line is one write, so that a killed process leaves whole lines."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(folder / f"{os.getpid()}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, task: int, attempt: int, what: str) -> None:
        entry = Entry(task=task, attempt=attempt, pid=os.getpid(), what=what)
        os.write(self._file, msgspec.json.encode(entry) + b"\n")


def read_journal(folder: Path) -> list[Entry]:
    decode = msgspec.json.Decoder(Entry).decode
    return [decode(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines()]
