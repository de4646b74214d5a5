"""Where the embedded NATS server collects atomic batches: in memory instead of on disk, where there is such a folder."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import stat
from pathlib import Path

log = logging.getLogger(__name__)

MEMORY = Path("/dev/shm")  # noqa: S108 - the folder itself is private and checked to be ours
STREAM_FOLDER = Path("jetstream") / "$G" / "streams" / "SOPHIA"
"""Of the one stream of a platform (``sophia.queue.jetstream.names.STREAM``)."""


class StagingFolder:
    """The server stages every batch of a stream with one replica in files that it syncs five times and then deletes:
    4 to 8 ms a batch on an ordinary disk. Nothing ever reads them after a crash (a batch is committed by copying it into
    the stream), and with three replicas the server itself stages in memory. So the folder becomes a link to one in
    memory. Where that cannot be, batches are slower and nothing else changes.
    """

    def __init__(self, data_dir: Path) -> None:
        self._link = data_dir.resolve() / STREAM_FOLDER / "batches"
        name = hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:16]
        self._folder = MEMORY / f"sophia-nats-{name}"

    def use(self) -> None:
        """To be called after every start of the server, which removes the link while it recovers."""
        try:
            if not MEMORY.is_dir() or not self._is_ours():
                return
            self._link.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            if not self._link.is_symlink():
                if self._link.exists():
                    # Made by the server just now. It is empty again after each batch; else it stays where it is.
                    self._link.rmdir()
                self._link.symlink_to(self._folder)
        except OSError as error:
            log.info("NATS stages its batches on disk: %s", error)

    def _is_ours(self) -> bool:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        found = self._folder.lstat()
        return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and found.st_mode & 0o077 == 0

    def remove(self) -> None:
        if self._folder.is_dir() and not self._folder.is_symlink() and self._folder.lstat().st_uid == os.getuid():
            shutil.rmtree(self._folder, ignore_errors=True)
