"""The processes of a run: started, killed, stopped and woken; one that ends unasked is a finding."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from sophia.embedded.child import start_child
from tests.support.platform import clean_environment

STOP_S = 30.0


class Member:
    """One process with a name for life; each start has a number, so that no two have the same id."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], folder: Path, surprises: list[str]
    ) -> None:
        self.name = name
        self.process: asyncio.subprocess.Process | None = None
        self._command = list(command)
        self._environment = {**clean_environment(), **environment}
        self._log = folder / f"{name}.log"
        self._surprises = surprises
        self._starts = 0
        self._watch: asyncio.Task[None] | None = None
        self._asked_to_end = False

    @property
    def id(self) -> str:
        return f"{self.name}-{self._starts}"

    @property
    def pid(self) -> int:
        if self.process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self.process.pid

    async def start(self) -> None:
        self._starts += 1
        self._asked_to_end = False
        command = [word.replace("{id}", self.id) for word in self._command]
        with self._log.open("ab") as log:
            self.process = await start_child(
                [sys.executable, *command], log=log, environment=self._environment, death_signal=signal.SIGKILL
            )
        self._watch = asyncio.create_task(self._note_end(self.process), name=f"watch {self.id}")

    async def _note_end(self, process: asyncio.subprocess.Process) -> None:
        status = await process.wait()
        if not self._asked_to_end:
            self._surprises.append(f"{self.id} ended by itself with status {status}; see {self._log}")

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def kill(self) -> None:
        self._asked_to_end = True
        self.signal(signal.SIGKILL)
        await self._ended()

    async def stop(self) -> None:
        """SIGTERM; a process that does not leave in order is a finding."""
        if self.process is None or self.process.returncode is not None:
            return
        self._asked_to_end = True
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S):
                status = await self._ended()
        except TimeoutError:
            self._surprises.append(f"{self.id} did not leave in {STOP_S:g} s; see {self._log}")
            await self.kill()
            return
        if status != 0:
            self._surprises.append(f"{self.id} left with status {status}; see {self._log}")

    async def _ended(self) -> int:
        if self.process is None or self._watch is None:
            raise RuntimeError(f"{self.name} was not started")
        await self._watch
        return await self.process.wait()
