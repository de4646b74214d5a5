"""Worker processes on this machine, as machines: they outlive the process that launched them and are found again."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from sophia.nouns.errors import InvalidInput
from sophia.nouns.pool import Offer, PoolSpec
from sophia.providers import processes
from sophia.providers.base import LaunchRequest, Machine, Traits
from sophia.providers.instance_files import InstanceFile, InstanceFiles
from sophia.providers.worker_logs import WorkerLogs

log = logging.getLogger(__name__)

REGION = "local"
INSTANCE_VARIABLE = "SOPHIA_INSTANCE_ID"
TETHER_VARIABLE = "SOPHIA_TETHER_FD"
_INSTANCE_ID = re.compile(r"^[a-z0-9][a-z0-9_-]{0,99}$")


class LocalProvider:
    """Implements ``Provider``. Launching an id that runs already gives that machine: here a launch is idempotent.

    ``command`` gives the arguments of a worker; ``environment`` is the whole environment it gets, to which its instance
    id and, where there is one, the number of the inherited ``tether_fd`` are added: a worker that reads end of file
    there has lost its supervisor and leaves. What runs is kept in ``state_dir`` (files per instance, and logs), so any
    number of providers, one after the other or at once, see the same machines. Raises ``Unavailable`` when a process
    cannot be started or the folder cannot be used, ``StorageFull`` when its disk is full.
    """

    name = "local"
    traits = Traits()

    def __init__(
        self,
        command: Callable[[LaunchRequest], Sequence[str]],
        state_dir: Path,
        environment: Mapping[str, str],
        tether_fd: int | None,
    ) -> None:
        self._command = command
        self._environment = dict(environment)
        self._tether_fd = tether_fd
        self._files = InstanceFiles(state_dir / "instances")
        self._logs = WorkerLogs(state_dir / "logs")

    def launch_wait_s(self) -> float:
        return 0.0

    async def offers(self, spec: PoolSpec) -> list[Offer]:
        kind = spec.instance_types[0] if spec.instance_types else "process"
        return [Offer(instance_type=kind, region=REGION, price_usd_per_hour=0.0, available=True)]

    async def launch(self, request: LaunchRequest) -> Machine:
        if not _INSTANCE_ID.match(request.instance_id):
            raise InvalidInput(
                f"{request.instance_id!r} cannot name a process",
                field="instance_id",
                mend="lower-case letters, digits, hyphens and underscores",
            )
        return await asyncio.to_thread(self._launch, request)

    async def machines(self) -> Sequence[Machine]:
        return await asyncio.to_thread(self._machines)

    async def drain(self, ref: str) -> None:
        """SIGTERM, once: a worker may take the second one as an order to hurry."""
        await asyncio.to_thread(self._drain, ref)

    async def terminate(self, ref: str) -> None:
        """SIGKILL to the worker and everything it started."""
        await asyncio.to_thread(self._terminate, ref)

    async def close(self) -> None:
        """The workers go on; that is what their files are for."""

    def _launch(self, request: LaunchRequest) -> Machine:
        with self._files.locked():
            known = self._current(self._files.read(request.instance_id))
            if known is not None:
                return _machine(known)
            intent = InstanceFile(
                id=request.instance_id,
                pool=request.pool,
                instance_type=request.offer.instance_type,
                started_at_ms=time.time_ns() // 1_000_000,
            )
            # Before the process is there: if we are killed in between, it is found by the id in its environment.
            self._files.write(intent)
            try:
                mark = processes.spawn(
                    self._command(request),
                    self._environment_of(request.instance_id),
                    self._logs.open_for(request.instance_id),
                    self._tether_fd,
                )
            except BaseException:
                self._files.remove(request.instance_id)
                raise
            running = msgspec.structs.replace(intent, process=mark)
            self._files.write(running)
        return _machine(running)

    def _environment_of(self, instance_id: str) -> dict[str, str]:
        environment = {**self._environment, INSTANCE_VARIABLE: instance_id}
        if self._tether_fd is not None:
            environment[TETHER_VARIABLE] = str(self._tether_fd)
        return environment

    def _machines(self) -> list[Machine]:
        with self._files.locked():
            self._logs.trim()
            return [_machine(instance) for instance in self._running()]

    def _running(self) -> Iterator[InstanceFile]:
        for written in self._files.all():
            instance = self._current(written)
            if instance is not None:
                yield instance

    def _current(self, instance: InstanceFile | None) -> InstanceFile | None:
        """The instance if its process runs; the file of one that ended is removed, with what it left running."""
        if instance is None:
            return None
        if instance.process is None:
            instance = self._recovered(instance)
        if instance.process is not None:
            fate = processes.fate(instance.process)
            if fate.alive:
                return instance
            if fate.exit_code:
                log.warning("worker %s ended with exit code %d", instance.id, fate.exit_code)
        self._sweep(instance.id)
        self._files.remove(instance.id)
        return None

    def _recovered(self, instance: InstanceFile) -> InstanceFile:
        """A launcher was killed between its intent and its note of the pid: look for the process itself."""
        for mark in processes.marked(INSTANCE_VARIABLE, instance.id):
            if processes.leads_session(mark):
                found = msgspec.structs.replace(instance, process=mark)
                self._files.write(found)
                return found
        return instance

    def _drain(self, ref: str) -> None:
        with self._files.locked():
            instance = self._current(self._files.read(ref))
            if instance is None or instance.process is None or instance.draining:
                return
            processes.ask_to_stop(instance.process)
            self._files.write(msgspec.structs.replace(instance, draining=True))

    def _terminate(self, ref: str) -> None:
        with self._files.locked():
            instance = self._current(self._files.read(ref))
            if instance is None or instance.process is None:
                return
            if processes.kill(instance.process).alive:
                log.warning("worker %s does not end on SIGKILL yet", ref)
                return
            self._sweep(ref)
            self._files.remove(ref)

    def _sweep(self, instance_id: str) -> None:
        for mark in processes.marked(INSTANCE_VARIABLE, instance_id):
            log.warning("killing process %d, left behind by worker %s", mark.pid, instance_id)
            processes.kill_one(mark)


def _machine(instance: InstanceFile) -> Machine:
    return Machine(
        ref=instance.id,
        name=instance.id,
        pool=instance.pool,
        state="stopping" if instance.draining else "running",
        instance_type=instance.instance_type,
        region=REGION,
        started_at_ms=instance.started_at_ms,
    )
