"""Keeps child processes running: starts them, restarts what ends, stops them in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from sophia.embedded.child import start_child, stop_child, tail_of
from sophia.nouns.errors import Unavailable

log = logging.getLogger(__name__)

FIRST_RESTART_S = 0.2
LONGEST_RESTART_S = 10.0
STEADY_AFTER_S = 30.0
"""A child that ran this long starts its next restart without delay again."""
LOG_LIMIT_BYTES = 10 * 1024 * 1024


class ChildSpec(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log_path: Path
    ready: Callable[[], Awaitable[bool]] | None = None
    """Asked until it says yes, after the first start only."""
    start_timeout_s: float = 60.0
    stop_grace_s: float = 20.0
    pass_fds: Sequence[int] = ()


class Child:
    """One supervised process."""

    def __init__(self, spec: ChildSpec, on_exit: Callable[[str, int, int], None]) -> None:
        self.spec = spec
        self.process: asyncio.subprocess.Process | None = None
        self._on_exit = on_exit
        self._keeper: asyncio.Task[None] | None = None
        self._first_exit: asyncio.Future[int] | None = None

    async def start(self) -> None:
        """Returns when it is ready. Raises ``Unavailable`` with the end of its log when it ends or hangs instead."""
        await self._spawn()
        self._first_exit = asyncio.get_running_loop().create_future()
        self._keeper = asyncio.create_task(self._keep(), name=f"keep {self.spec.name}")
        try:
            async with asyncio.timeout(self.spec.start_timeout_s):
                while self.spec.ready is not None and not await self.spec.ready():
                    if self._first_exit.done():
                        raise Unavailable(f"{self.spec.name} ended at start:\n{tail_of(self.spec.log_path, 8)}")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise Unavailable(
                f"{self.spec.name} was not ready in {self.spec.start_timeout_s:g} s:\n{tail_of(self.spec.log_path, 8)}"
            ) from None

    async def _spawn(self) -> None:
        path = self.spec.log_path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > LOG_LIMIT_BYTES:
            path.replace(path.with_suffix(".old.log"))
        with path.open("ab") as log_file:
            self.process = await start_child(
                self.spec.command, log=log_file, environment=self.spec.environment, pass_fds=self.spec.pass_fds
            )

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        pause_s = FIRST_RESTART_S
        while True:
            if self.process is None:
                raise RuntimeError("a child is kept only after it was started")
            started_s = loop.time()
            pid, status = self.process.pid, await self.process.wait()
            if self._first_exit is not None and not self._first_exit.done():
                self._first_exit.set_result(status)
            self._on_exit(self.spec.name, pid, status)
            pause_s = (
                FIRST_RESTART_S if loop.time() - started_s > STEADY_AFTER_S else min(pause_s * 2, LONGEST_RESTART_S)
            )
            await asyncio.sleep(pause_s)
            while True:
                try:
                    await self._spawn()
                    break
                except OSError as error:
                    log.error("cannot restart %s: %s", self.spec.name, error)
                    await asyncio.sleep(LONGEST_RESTART_S)

    async def stop(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self.process is not None:
            await stop_child(self.process, self.spec.stop_grace_s)
