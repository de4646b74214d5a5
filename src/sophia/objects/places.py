"""A folder, or a bucket of S3, R2 or any server that speaks S3's protocol."""

from __future__ import annotations

import os
import shutil
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from sophia.nouns.clock import Clock, SystemClock
from sophia.objects.stored import StoredObjects
from sophia.settings.loaded import ResolvedObjects

if TYPE_CHECKING:
    from obstore.store import ObjectStore as Backend
    from obstore.store import S3Config, S3Credential

CONNECT_TIMEOUT_S = 5
REQUEST_TIMEOUT_S = 600
RETRIES = 3
RETRY_FOR_S = 10


class Folder:
    """Objects as files. Writing is to a file beside it and a rename, which the library does, and to disk, which it
    does not: an accepted task must survive a power cut."""

    sorted_lists = False

    def __init__(self, path: Path) -> None:
        self.name = f"the object folder {path}"
        self._path = path

    def open(self) -> Backend:
        from obstore.store import LocalStore

        self._path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return LocalStore(self._path)

    def persist(self, key: str) -> None:
        file = self._path / key
        for path in (file, file.parent, self._path):
            fd = os.open(path, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def clear(self, day: str) -> None:
        # Files of writes that were broken off are not listed as objects.
        shutil.rmtree(self._path / day, ignore_errors=True)


class Bucket:
    """Objects in a bucket. No checksum headers, which R2 does not take: requests are signed over their content, and
    reading verifies the hash."""

    sorted_lists = True

    def __init__(self, objects: ResolvedObjects) -> None:
        self._objects = objects
        self.name = f"the bucket {objects.bucket!r}"

    def open(self) -> Backend:
        from obstore.store import S3Store

        objects = self._objects

        # As a callback, so that no AWS_* variable of this machine's mixes into it.
        def credentials() -> S3Credential:
            return {
                "access_key_id": objects.access_key_id,
                "secret_access_key": objects.secret_access_key,
                "token": None,
                "expires_at": None,
            }

        config: S3Config = {"region": objects.region}
        if objects.endpoint:
            config |= {"endpoint": objects.endpoint, "aws_endpoint_url_s3": objects.endpoint}
        return S3Store(
            objects.bucket,
            prefix=objects.prefix or None,
            config=config,
            credential_provider=credentials,
            client_options={
                "allow_http": objects.endpoint is not None and objects.endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
                "timeout": timedelta(seconds=REQUEST_TIMEOUT_S),
            },
            retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_FOR_S)},
        )

    def persist(self, key: str) -> None:
        """S3 answers when an object is durable."""

    def clear(self, day: str) -> None:
        """A day without objects does not exist in a bucket."""


def open_objects(objects: ResolvedObjects | None, data_dir: Path, clock: Clock | None = None) -> StoredObjects:
    """``None``: the folder ``objects`` in ``data_dir``. Connects to nothing yet."""
    place = Folder(data_dir / "objects") if objects is None else Bucket(objects)
    return StoredObjects(place, clock or SystemClock())
