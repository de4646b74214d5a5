"""The data folder of a platform on one machine: one owner at a time, room to write, and where clients find it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

from sophia.embedded import nats_server, redis_server
from sophia.embedded.child import end_orphan
from sophia.nouns.errors import ConfigError, StorageFull

LEAST_FREE_BYTES = 200 * 1024 * 1024
PREDECESSOR_WAIT_S = 30.0


class ClientFile(msgspec.Struct, frozen=True, kw_only=True):
    """``client.json``: how the command line reaches the platform. Readable by its owner only."""

    url: str
    websocket_url: str
    api_key: str = ""
    pid: int = 0


def prepare(data_dir: Path) -> None:
    """Raises ``ConfigError`` when the folder cannot be written, ``StorageFull`` when there is no room."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = data_dir / ".probe"
        probe.write_bytes(b"x" * 4096)
        probe.unlink()
    except OSError as error:
        if error.errno == 28:
            raise _full(data_dir, 0) from error
        raise ConfigError(
            f"the data folder {data_dir} cannot be written: {error.strerror}",
            field="--data-dir",
            mend="choose a folder that you may write to",
        ) from error
    free = shutil.disk_usage(data_dir).free
    if free < LEAST_FREE_BYTES:
        raise _full(data_dir, free)


def _full(data_dir: Path, free: int) -> StorageFull:
    return StorageFull(
        f"{data_dir} has {free // 1_048_576} MiB of free space, at least {LEAST_FREE_BYTES // 1_048_576} are needed",
        field="--data-dir",
        mend="free some space, or choose a folder on another disk",
    )


@contextlib.asynccontextmanager
async def owned(data_dir: Path) -> AsyncIterator[int]:
    """Own the folder; gives the lock's descriptor, which servers that write to the folder inherit.

    The kernel drops the lock when the last process that holds it is gone, so a killed platform leaves no stale lock,
    and its successor waits until the servers of its predecessor have ended too.
    """
    fd = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        await _take(fd, data_dir)
        yield fd
    finally:
        os.close(fd)


async def _take(fd: int, data_dir: Path) -> None:
    loop = asyncio.get_running_loop()
    until_s = loop.time() + PREDECESSOR_WAIT_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            running = read_client_file(data_dir)
            if running is not None and _alive(running.pid):
                raise ConfigError(
                    f"a platform already runs over {data_dir} (process {running.pid}) at {running.url}",
                    mend="use it, stop it with Ctrl-C, or choose another --data-dir and --port",
                ) from None
            end_orphan(data_dir / "redis" / redis_server.PID_FILE)
            end_orphan(data_dir / "nats" / nats_server.PID_FILE)
            if loop.time() > until_s:
                raise ConfigError(
                    f"another process still holds {data_dir / 'lock'}", mend="end it, or choose another --data-dir"
                ) from None
        await asyncio.sleep(0.1)


def _alive(pid: int) -> bool:
    import psutil

    try:
        return pid > 0 and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def read_client_file(data_dir: Path) -> ClientFile | None:
    try:
        return msgspec.json.decode((data_dir / "client.json").read_bytes(), type=ClientFile)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def write_client_file(data_dir: Path, content: ClientFile) -> None:
    path = data_dir / "client.json"
    temporary = path.with_suffix(f".{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
    temporary.replace(path)


def generated_key(data_dir: Path) -> str:
    """The folder's own API key, made once."""
    return _kept(data_dir / "api-key", lambda: f"sk-sophia-{secrets.token_urlsafe(24)}")


def key_secret(data_dir: Path) -> bytes:
    """What virtual keys are hashed with, made once."""
    return _kept(data_dir / "key-secret", lambda: secrets.token_hex(32)).encode()


def _kept(path: Path, make: Callable[[], str]) -> str:
    """A secret in a file of its own that only its owner can read; of several who make it at once, one prevails."""
    with contextlib.suppress(FileNotFoundError):
        if kept := path.read_text().strip():
            return kept
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(make() + "\n")
    try:
        os.link(temporary, path)
    except FileExistsError:
        if not path.read_text().strip():
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path.read_text().strip()
