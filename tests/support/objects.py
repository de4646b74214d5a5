"""Empty object stores of each kind: a folder, and a bucket of a real server that speaks S3's protocol."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio

from sophia.nouns.clock import ManualClock
from sophia.objects.places import open_objects
from sophia.objects.stored import StoredObjects
from sophia.settings.loaded import ResolvedObjects

START_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z."""
ACCESS_KEY, SECRET_KEY = "sophia-test", "a-secret-of-the-tests"
START_TIMEOUT_S = 30.0


class BucketServer:
    """One nanio server: buckets are folders of ``root``, objects are files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.root.mkdir(exist_ok=True)
        command = [str(Path(sys.executable).with_name("nanio")), "serve", "--data-dir", str(self.root)]
        with (self.root.parent / "nanio.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", str(self.port), "--no-access-log"],
                env={**os.environ, "NANIO_ACCESS_KEY": ACCESS_KEY, "NANIO_SECRET_KEY": SECRET_KEY},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        until = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            assert self._process.poll() is None, (self.root.parent / "nanio.log").read_text()
            assert time.monotonic() < until, "the bucket server did not start"
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(self.url, timeout=5).close()
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def bucket(self) -> str:
        name = f"test-{uuid.uuid4().hex}"
        (self.root / name).mkdir()
        return name

    def settings(self, bucket: str, **changes: str) -> ResolvedObjects:
        fields = {
            "bucket": bucket,
            "prefix": "some/where",
            "endpoint": self.url,
            "region": "auto",
            "access_key_id": ACCESS_KEY,
            "secret_access_key": SECRET_KEY,
        }
        return ResolvedObjects(**{**fields, **changes})


class ObjectPlace(NamedTuple):
    """Where objects are; ``files`` is the folder that holds them, whatever serves it."""

    settings: ResolvedObjects | None
    data_dir: Path
    files: Path
    clock: ManualClock

    def open(self) -> StoredObjects:
        return open_objects(self.settings, self.data_dir, self.clock)

    def names(self) -> set[str]:
        """Keys of all objects that are there."""
        return {"/".join(path.parts[-2:]) for path in self.files.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def bucket_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BucketServer]:
    server = BucketServer(tmp_path_factory.mktemp("buckets") / "data")
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(params=["folder", "bucket"])
def object_place(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectPlace:
    """An empty store of each kind."""
    clock = ManualClock(START_MS)
    if request.param == "folder":
        return ObjectPlace(None, tmp_path, tmp_path / "objects", clock)
    server: BucketServer = request.getfixturevalue("bucket_server")
    bucket = server.bucket()
    return ObjectPlace(server.settings(bucket), tmp_path, server.root / bucket / "some/where", clock)


@pytest.fixture
def megabyte_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest_asyncio.fixture
async def object_store(object_place: ObjectPlace) -> AsyncIterator[StoredObjects]:
    opened = object_place.open()
    yield opened
    await opened.close()
