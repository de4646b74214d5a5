"""The whole platform, as a user starts it: `sophia up` as a child process on free ports over a folder of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0


def three_free_ports() -> int:
    """The first of three free ports in a row."""
    for _ in range(200):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first: int = probe.getsockname()[1]
        if first + 2 <= 65_535 and all(_is_free(first + n) for n in range(3)):
            return first
    raise AssertionError("no three free ports in a row")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Platform:
    """A running `sophia up`. ``kill`` and ``processes`` are for tests that break it."""

    def __init__(self, data_dir: Path, port: int, environ: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.websocket_url = f"ws://127.0.0.1:{port + 1}/ws"
        self.metrics_url = f"http://127.0.0.1:{port + 2}/metrics"
        self.api_key = ""
        self._environ = {**clean_environment(), **(environ or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "sophia.cli.main", "up", "--port", str(self.port)]
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--data-dir", str(self.data_dir), *options],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=self._environ,
                cwd=self.data_dir.parent,
                start_new_session=True,
            )
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + START_TIMEOUT_S
        while True:
            client = self._client_file()
            if client.get("pid") == self.pid:
                self.api_key = client["api_key"]
                return
            if self._process is None or self._process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"the platform did not come up:\n{self.log_text()}")
            time.sleep(0.05)

    def _client_file(self) -> dict[str, Any]:
        try:
            content: dict[str, Any] = msgspec.json.decode((self.data_dir / "client.json").read_bytes())
        except (FileNotFoundError, msgspec.DecodeError):
            return {}
        return content

    @property
    def _log_path(self) -> Path:
        return self.data_dir.parent / f"{self.data_dir.name}-up.log"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def log_text(self) -> str:
        texts = [self._log_path.read_text(errors="replace")]
        for path in sorted((self.data_dir / "logs").glob("*.log")):
            texts.append(f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-15:]))
        return "\n".join(texts)

    def processes(self) -> dict[str, list[psutil.Process]]:
        """Running processes by role: up, redis or nats, gateway, websocket, router, worker, model-server."""
        found: dict[str, list[psutil.Process]] = {}
        for process in psutil.process_iter():
            try:
                words, environment = process.cmdline(), process.environ()
                alive = process.status() != psutil.STATUS_ZOMBIE
            except psutil.Error:
                continue
            if not alive or (
                environment.get("SOPHIA_DATA_DIR") != str(self.data_dir) and str(self.data_dir) not in " ".join(words)
            ):
                continue
            server = "nats" if words and words[0].endswith("nats-server") else "redis"
            role = words[3] if words[1:3] == ["-m", "sophia.cli.main"] and len(words) > 3 else server
            found.setdefault(role, []).append(process)
        return found

    def stop(self) -> int:
        """SIGTERM; gives the exit status."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill_everything()
            raise AssertionError(f"the platform did not stop in {STOP_TIMEOUT_S:g} s:\n{self.log_text()}") from None
        return status

    def kill_everything(self) -> None:
        """SIGKILL to every process of this platform, the supervisor first."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
        for group in self.processes().values():
            for process in group:
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    continue
        if self._process is not None:
            self._process.wait(10)


def clean_environment() -> dict[str, str]:
    """This process's environment without what would change a platform's behaviour."""
    prefixes = ("SOPHIA_", "OPENAI_", "PORTKEY_", "PROMETHEUS_")
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}


@pytest.fixture(scope="session")
def running_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One platform for all tests that do not break it."""
    running = Platform(tmp_path_factory.mktemp("platform") / "data", three_free_ports())
    running.start()
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def own_platform(tmp_path: Path) -> Iterator[Platform]:
    """A platform of the test's own, not yet started."""
    mine = Platform(tmp_path / "data", three_free_ports())
    try:
        yield mine
    finally:
        mine.kill_everything()
