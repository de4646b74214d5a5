"""One served model on this host: its server is started, proved, announced, watched, drained, and started again when it ends.

For servers with vLLM's manners: ``/health`` and ``/metrics`` beside ``/v1``. ``llama-server`` has them too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path

import aiohttp
import msgspec

from sophia.cancel import cancel_all
from sophia.embedded.child import dies_with_parent
from sophia.hosts.server_metrics import ServerMetrics, in_flight
from sophia.inference.registry import ENDPOINT_TTL_S, EndpointRegistry
from sophia.nouns.endpoint import Endpoint
from sophia.nouns.errors import SophiaError

_log = logging.getLogger(__name__)

_POLL_S = 0.25
_PROBE_TIMEOUT_S = 10.0
_FIRST_ANSWER_TIMEOUT_S = 120.0
"""The first completion compiles what had been left for it."""
_MISSED_PROBES = 3
"""A server that lives but has not answered ``/health`` so many times in a row is ended, and started again."""


class Paces(msgspec.Struct, frozen=True, kw_only=True):
    """How patient the supervisor is, in seconds."""

    ready_timeout_s: float = 1800.0
    """Large weights take long to load."""
    drain_s: float = 120.0
    term_grace_s: float = 30.0
    """Between SIGTERM and SIGKILL."""
    backoff_s: float = 2.0
    backoff_max_s: float = 120.0
    steady_s: float = 300.0
    """Who ran so long before it ended is started again without waiting longer than at first."""
    announce_every_s: float = ENDPOINT_TTL_S / 3


class ServedCommand(msgspec.Struct, frozen=True, kw_only=True):
    command: Sequence[str]
    environment: Mapping[str, str]
    root_url: str
    """Where the command listens, seen from this host: ``http://127.0.0.1:8000``."""
    log: Path
    api_key: str | None = None


class ModelServer:
    """``run`` serves until ``stop`` is set, then drains: takes itself out of the registry's choice, waits until the server
    has nothing running (by its metrics) or ``drain_s`` is over, and ends it."""

    def __init__(
        self,
        served: ServedCommand,
        endpoint: Endpoint,
        registry: EndpointRegistry,
        metrics: ServerMetrics,
        paces: Paces = Paces(),  # noqa: B008  (frozen)
    ) -> None:
        self._served = served
        self._endpoint = endpoint
        self._registry = registry
        self._metrics = metrics
        self._paces = paces
        self._process: Process | None = None
        self.starts = 0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.returncode is None else None

    async def run(self, stop: asyncio.Event) -> None:
        """Raises only what cannot be mended by another start: the command cannot be executed (``OSError``)."""
        backoff_s = self._paces.backoff_s
        loop = asyncio.get_running_loop()
        headers = {"Authorization": f"Bearer {self._served.api_key}"} if self._served.api_key else {}
        try:
            async with aiohttp.ClientSession(self._served.root_url, headers=headers) as session:
                while not stop.is_set():
                    began_s = loop.time()
                    await self._once(session, stop)
                    if stop.is_set():
                        return
                    if loop.time() - began_s >= self._paces.steady_s:
                        backoff_s = self._paces.backoff_s
                    _log.warning("the server of %s is started again in %.1f s", self._endpoint.model, backoff_s)
                    await _within(stop.wait(), backoff_s)
                    backoff_s = min(2 * backoff_s, self._paces.backoff_max_s)
        finally:
            self._metrics.forget(self._endpoint.model)
            await self._tell(self._registry.withdraw(self._endpoint.id))

    async def _once(self, session: aiohttp.ClientSession, stop: asyncio.Event) -> None:
        """From a start to the end of the process, whoever ends it."""
        process = await self._start()
        ended = asyncio.create_task(process.wait())
        stopping = asyncio.create_task(stop.wait())
        serving = asyncio.create_task(self._serve(session))
        try:
            await asyncio.wait({ended, stopping, serving}, return_when=asyncio.FIRST_COMPLETED)
            await cancel_all(serving)
            if ended.done():
                _log.warning("the server of %s ended with status %s", self._endpoint.model, process.returncode)
            elif stopping.done():
                await self._drain(session, ended)
            else:
                _log.warning("the server of %s is ended: %s", self._endpoint.model, _why(serving))
        finally:
            await cancel_all(serving, stopping)
            self._metrics.forget(self._endpoint.model)
            # Not in anybody's choice while it is down: its next start announces it as one that is not ready.
            await self._tell(self._registry.withdraw(self._endpoint.id))
            await self._end(process)
            await cancel_all(ended)

    async def _start(self) -> Process:
        self.starts += 1
        _log.info("starting %s for %s", self._served.command[0], self._endpoint.model)
        with self._served.log.open("ab") as log:
            # A group of its own: servers have children, which are ended with them.
            self._process = await asyncio.create_subprocess_exec(
                *self._served.command,
                env=dict(self._served.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=dies_with_parent(),
            )
        return self._process

    async def _serve(self, session: aiohttp.ClientSession) -> None:
        """Announce until it fails: as starting, and as ready once it has answered. Raises ``TimeoutError``."""
        announcing = asyncio.create_task(self._announce(ready=False))
        try:
            async with asyncio.timeout(self._paces.ready_timeout_s):
                while True:
                    if await self._healthy(session) and await self._answers(session):
                        break
                    await asyncio.sleep(_POLL_S)
        finally:
            await cancel_all(announcing)
        _log.info("%s answers", self._endpoint.model)
        announcing = asyncio.create_task(self._announce(ready=True))
        try:
            await self._watch(session)
        finally:
            await cancel_all(announcing)

    async def _watch(self, session: aiohttp.ClientSession) -> None:
        missed = 0
        while missed < _MISSED_PROBES:
            missed = 0 if await self._healthy(session) else missed + 1
            self._metrics.keep(self._endpoint.model, await self._exposition(session))
            await asyncio.sleep(self._paces.announce_every_s)
        raise TimeoutError(f"it has not answered /health {missed} times in a row")

    async def _announce(self, *, ready: bool, draining: bool = False) -> None:
        endpoint = msgspec.structs.replace(self._endpoint, ready=ready, draining=draining)
        while True:
            await self._tell(self._registry.announce(endpoint))
            await asyncio.sleep(self._paces.announce_every_s)

    async def _drain(self, session: aiohttp.ClientSession, ended: asyncio.Task[int]) -> None:
        announcing = asyncio.create_task(self._announce(ready=True, draining=True))
        idle = asyncio.create_task(self._idle(session))
        try:
            await asyncio.wait({ended, idle}, timeout=self._paces.drain_s, return_when=asyncio.FIRST_COMPLETED)
            if not idle.done():
                _log.warning("%s is stopped with requests under way", self._endpoint.model)
        finally:
            await cancel_all(announcing, idle)

    async def _idle(self, session: aiohttp.ClientSession) -> None:
        """Twice in a row, so that a request that is on its way from a gateway which has not heard yet is seen.

        A server that does not say how much it has is not idle."""
        seen = 0
        while seen < 2:
            await asyncio.sleep(_POLL_S)
            seen = seen + 1 if in_flight(await self._exposition(session)) == 0 else 0

    async def _end(self, process: Process) -> None:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            if not await _within(process.wait(), self._paces.term_grace_s):
                _log.warning("the server of %s does not end, and is killed", self._endpoint.model)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()

    async def _healthy(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get("/health", timeout=_limit(_PROBE_TIMEOUT_S)) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def _answers(self, session: aiohttp.ClientSession) -> bool:
        """One token of a completion: weights that are loaded wrongly are found here and not by a user."""
        body = {"model": self._endpoint.model, "prompt": "1, 2, 3,", "max_tokens": 1, "temperature": 0}
        try:
            async with session.post("/v1/completions", json=body, timeout=_limit(_FIRST_ANSWER_TIMEOUT_S)) as answer:
                if answer.status != 200:
                    _log.warning("%s answers %d: %.200s", self._endpoint.model, answer.status, await answer.text())
                    return False
                return "choices" in await answer.json()
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return False

    async def _exposition(self, session: aiohttp.ClientSession) -> str | None:
        try:
            async with session.get("/metrics", timeout=_limit(_PROBE_TIMEOUT_S)) as answer:
                return await answer.text() if answer.status == 200 else None
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def _tell(self, call: Awaitable[None]) -> None:
        """A registry that does not answer takes nobody's server down; what was announced expires by itself."""
        try:
            await call
        except SophiaError as error:
            _log.warning("the registry of model servers: %s", error)


def _limit(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=seconds)


async def _within(waiting: Awaitable[object], timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            await waiting
    except TimeoutError:
        return False
    return True


def _why(serving: asyncio.Task[None]) -> str:
    error = None if serving.cancelled() else serving.exception()
    return str(error) or "it was not ready in time"
