"""A file per local instance, written atomically, under one lock for all who share the folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from sophia.nouns.errors import StorageFull, Unavailable
from sophia.providers.processes import ProcessMark

log = logging.getLogger(__name__)

LOCK_WAIT_S = 10.0


class InstanceFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    pool: str
    instance_type: str
    started_at_ms: int
    process: ProcessMark | None = None
    """``None`` from the intent to launch until the process is there."""
    draining: bool = False


class InstanceFiles:
    """The folder of instance files. Every method but ``locked`` is called with the lock held."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Exclude other threads and processes. Raises ``Unavailable`` when others hold it for ``LOCK_WAIT_S``;
        an ``OSError`` inside becomes ``Unavailable`` or ``StorageFull``."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                _take(descriptor)
                yield
            finally:
                os.close(descriptor)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull(f"no space left for {self._folder}") from error
            raise Unavailable(f"local instances: {error}") from error

    def write(self, instance: InstanceFile) -> None:
        path = self._path(instance.id)
        fresh = path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(instance))
        fresh.replace(path)

    def read(self, instance_id: str) -> InstanceFile | None:
        try:
            return msgspec.json.decode(self._path(instance_id).read_bytes(), type=InstanceFile)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError:
            # Its process can still be found by its id; of no known pool, it will be ended rather than forgotten.
            log.exception("the file of instance %s is damaged", instance_id)
            return InstanceFile(id=instance_id, pool="", instance_type="", started_at_ms=0)

    def all(self) -> Iterator[InstanceFile]:
        for path in sorted(self._folder.glob("*.json")):
            instance = self.read(path.stem)
            if instance is not None:
                yield instance

    def remove(self, instance_id: str) -> None:
        self._path(instance_id).unlink(missing_ok=True)

    def _path(self, instance_id: str) -> Path:
        return self._folder / f"{instance_id}.json"


def _take(descriptor: int) -> None:
    until = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                raise
        time.sleep(0.01)
