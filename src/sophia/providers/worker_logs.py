"""Logs of local workers: bounded in size and number."""

from __future__ import annotations

from pathlib import Path

MAX_BYTES = 16 * 1024 * 1024
KEEP_BYTES = 1024 * 1024
MAX_FILES = 100


class WorkerLogs:
    """A folder with one log per instance. Writers append, so a log can be cut while its worker runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open_for(self, instance_id: str) -> Path:
        """Where an instance's output goes; the oldest logs make room for it."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        logs = sorted(self._folder.glob("*.log"), key=lambda path: path.stat().st_mtime)
        for old in logs[: max(0, len(logs) - MAX_FILES + 1)]:
            old.unlink(missing_ok=True)
            old.with_suffix(".log.1").unlink(missing_ok=True)
        return self._folder / f"{instance_id}.log"

    def trim(self) -> None:
        """Cut logs above ``MAX_BYTES``, keeping their last ``KEEP_BYTES`` beside them."""
        for path in self._folder.glob("*.log"):
            if path.stat().st_size <= MAX_BYTES:
                continue
            with path.open("r+b") as file:
                file.seek(-KEEP_BYTES, 2)
                path.with_suffix(".log.1").write_bytes(file.read())
                file.truncate(0)
