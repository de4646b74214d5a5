"""`sophia up`: every role on one machine, as child processes of this one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from typing import Any

from sophia.app import data_dir, emulated
from sophia.app.metrics import metrics_server
from sophia.app.probes import answers_health, free_port, require_free
from sophia.app.supervisor import Child, ChildSpec
from sophia.embedded.nats_server import NatsServer
from sophia.embedded.redis_server import RedisServer
from sophia.nouns.errors import ConfigError, SophiaError
from sophia.providers.local import LocalProvider
from sophia.settings.loaded import Loaded

Echo = Callable[[str], None]
WORKERS_GRACE_S = 25.0
SERVER_GRACE_S = 20.0
LAUNCHERS = frozenset({"router", "emulated-cloud"})
"""Children that start workers."""


async def run_up(
    loaded: Loaded, *, port: int | None, echo: Echo, stop: asyncio.Event, environ: Mapping[str, str]
) -> None:
    """Start everything, run until ``stop``, then drain and stop everything.

    ``port`` serves the API and the page, ``port + 1`` WebSockets and ``port + 2`` metrics; ``None`` takes all three
    from the settings. Raises ``ConfigError``/``Unavailable``/``StorageFull`` that say what is in the way.
    """
    ports = _ports(loaded, port)
    for label, number in ports.items():
        require_free(loaded.settings.server.host, number, label)
    data_dir.prepare(loaded.data_dir)
    async with data_dir.owned(loaded.data_dir) as lock_fd:
        platform = Platform(loaded, ports, echo, environ, lock_fd)
        await platform.run(stop)


def _ports(loaded: Loaded, port: int | None) -> dict[str, int]:
    server = loaded.settings.server
    if port is None:
        return {
            "API": server.port,
            "WebSocket": server.websocket_port or server.port + 1,
            "metrics": server.metrics_port,
        }
    if port and port + 2 > 65_535:
        raise ConfigError(
            f"--port {port} leaves no room for the two ports above it", field="--port", mend="at most 65533"
        )
    return {"API": port, "WebSocket": port + 1, "metrics": port + 2}


class Platform:
    """The processes of one machine, in the order in which they depend on each other."""

    def __init__(
        self, loaded: Loaded, ports: Mapping[str, int], echo: Echo, environ: Mapping[str, str], lock_fd: int
    ) -> None:
        self._loaded = loaded
        self._ports = ports
        self._echo = echo
        self._lock_fd = lock_fd
        self._host = loaded.settings.server.host
        self._logs = loaded.data_dir / "logs"
        self._emulated = loaded.settings.profile == "emulated"
        self._metrics_dir = loaded.data_dir / "run" / "metrics"
        self._children: list[Child] = []
        self._key = loaded.api_keys[0].key if loaded.api_keys else data_dir.generated_key(loaded.data_dir)
        self._environment = {
            **environ,
            "SOPHIA_DATA_DIR": str(loaded.data_dir),
            "SOPHIA_PROFILE": loaded.settings.profile,
            "PROMETHEUS_MULTIPROC_DIR": str(self._metrics_dir),
            "PYTHONUNBUFFERED": "1",
        }
        if not loaded.api_keys:
            self._environment["SOPHIA_API_KEY"] = self._key
        if loaded.config_path is not None:
            self._environment["SOPHIA_CONFIG"] = str(loaded.config_path)

    async def run(self, stop: asyncio.Event) -> None:
        shutil.rmtree(self._metrics_dir, ignore_errors=True)
        self._metrics_dir.mkdir(parents=True)
        with _pipe() as (life, _), _pipe() as (worker_tether, worker_hold):
            self._life_fd, self._worker_tether_fd = life, worker_tether
            try:
                async with contextlib.AsyncExitStack() as stack:
                    await self._start(stack, stop)
                    stack.enter_context(metrics_server(self._ports["metrics"], self._loaded, self._metrics_dir))
                    if not stop.is_set():
                        self._announce()
                        await stop.wait()
                    self._echo("stopping: no new work, running tasks finish or are handed back")
                    await self._stop_intake()
                    os.close(worker_hold.pop())
                    await self._workers_gone()
            finally:
                (self._loaded.data_dir / "client.json").unlink(missing_ok=True)
                await self._stop_children()
        self._echo("stopped; nothing accepted is lost")

    async def _start(self, stack: contextlib.AsyncExitStack, stop: asyncio.Event) -> None:
        if self._loaded.settings.queue.engine == "jetstream":
            if self._loaded.nats_url is None:
                nats = NatsServer(self._loaded.data_dir / "nats", pass_fds=(self._lock_fd,))
                serving = self._embedded(nats, "NATS", "SOPHIA_NATS_URL")
                await self._step("NATS", stop, stack.enter_async_context(serving))
        elif self._loaded.redis_url is None:
            redis = RedisServer(self._loaded.data_dir / "redis", pass_fds=(self._lock_fd,))
            await self._step(
                "Redis", stop, stack.enter_async_context(self._embedded(redis, "Redis", "SOPHIA_REDIS_URL"))
            )
        used = self._embedded_kinds()
        chat = self._model_server("chat", "SOPHIA_LLAMA_URL") if "llama_embedded" in used else None
        embedding = self._model_server("embedding", "SOPHIA_EMBEDDER_URL") if "onnx_embedded" in used else None
        if embedding is not None:
            # First, because the very first start builds the model's graph, which workers then share.
            await self._step("embedding model", stop, embedding.start())
        if chat is not None:
            await self._step("language model", stop, chat.start())
        for role, port in (("gateway", self._ports["API"]), ("websocket", self._ports["WebSocket"])):
            child = self._role(role, port=port, more=self._address_options(role))
            await self._step(role, stop, child.start())
        if self._emulated:
            await self._step("emulated GPU cloud", stop, self._cloud().start())
        router = self._role("router", more=("--worker-tether-fd", str(self._worker_tether_fd)))
        await self._step("router and pools", stop, router.start())

    async def _step(self, name: str, stop: asyncio.Event, work: Coroutine[Any, Any, Any]) -> None:
        """Do one step of the start, saying so; a stop in between ends it."""
        if stop.is_set():
            work.close()
            return
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        working = asyncio.create_task(work)
        stopping = asyncio.create_task(stop.wait())
        said = False
        try:
            while not working.done() and not stopping.done():
                await asyncio.wait({working, stopping}, timeout=2.0, return_when=asyncio.FIRST_COMPLETED)
                if not working.done() and not said:
                    self._echo(f"  … {name} is starting")
                    said = True
            if not working.done():
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)
                return
            working.result()
            self._echo(f"  ✓ {name} ({loop.time() - began_s:.1f} s)")
        finally:
            stopping.cancel()

    @contextlib.asynccontextmanager
    async def _embedded(self, server: RedisServer | NatsServer, name: str, variable: str) -> AsyncIterator[None]:
        await server.start()
        self._environment[variable] = server.url
        keeper = asyncio.create_task(self._keep(server, name))
        try:
            yield
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            await self._stop_children()
            await server.stop(SERVER_GRACE_S)

    async def _keep(self, server: RedisServer | NatsServer, name: str) -> None:
        pause_s = 0.1
        while True:
            status = await server.wait()
            self._echo(f"{name} ended with status {status}; starting it again")
            while True:
                await asyncio.sleep(pause_s)
                try:
                    await server.start()
                    pause_s = 0.1
                    break
                except SophiaError as error:
                    self._echo(f"{name} does not start: {error}")
                    pause_s = min(pause_s * 3, 10.0)

    def _embedded_kinds(self) -> set[str]:
        """Kinds of embedded servers that some model may be served by."""
        settings = self._loaded.settings
        names = {name for model in settings.models.values() for name in model.provider_names()}
        return {provider.kind for name, provider in settings.providers.items() if name in names}

    def _model_server(self, kind: str, variable: str) -> Child:
        port = free_port(self._host)
        url = f"http://{self._host}:{port}"
        self._environment[variable] = f"{url}/v1"
        return self._child(
            f"model-server-{kind}",
            ("model-server", kind, "--host", self._host, "--port", str(port)),
            ready=lambda: answers_health(url),
            start_timeout_s=300.0,
            stop_grace_s=5.0,
        )

    def _cloud(self) -> Child:
        port = free_port(self._host)
        url = f"http://{self._host}:{port}"
        self._environment["SOPHIA_EMULATED_CLOUD_URL"] = f"{url}/api/v1"
        self._environment["SOPHIA_EMULATED_CLOUD_KEY"] = secrets.token_hex(16)
        return self._child(
            "emulated-cloud",
            (
                *("emulated-cloud", "--host", self._host, "--port", str(port)),
                *("--worker-tether-fd", str(self._worker_tether_fd)),
            ),
            ready=lambda: answers_health(url),
        )

    def _role(self, role: str, *, port: int | None = None, more: tuple[str, ...] = ()) -> Child:
        arguments: tuple[str, ...] = (role, *more)
        ready = None
        if port is not None:
            arguments += ("--host", self._host, "--port", str(port))
            url = f"http://{self._host}:{port}"

            async def ready() -> bool:
                return await answers_health(url)

        return self._child(role, arguments, ready=ready)

    def _address_options(self, role: str) -> tuple[str, ...]:
        """The gateway and the WebSocket server learn of each other's port, which need not be the settings'."""
        if role == "gateway":
            return ("--websocket-url", f"ws://{self._host}:{self._ports['WebSocket']}/ws")
        # People open the page by either name, and the browser says by which.
        return tuple(
            word
            for host in (self._host, "localhost")
            for word in ("--page-origin", f"http://{host}:{self._ports['API']}")
        )

    def _child(self, name: str, arguments: tuple[str, ...], **more: object) -> Child:
        spec = ChildSpec(
            name=name,
            command=(sys.executable, "-m", "sophia.cli.main", *arguments, "--tether-fd", str(self._life_fd)),
            environment=dict(self._environment),
            log_path=self._logs / f"{name}.log",
            pass_fds=(self._life_fd, *((self._worker_tether_fd,) if name in LAUNCHERS else ())),
            **more,  # type: ignore[arg-type]
        )
        child = Child(spec, self._exited)
        self._children.append(child)
        return child

    def _exited(self, name: str, pid: int, status: int) -> None:
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(pid, path=str(self._metrics_dir))  # type: ignore[no-untyped-call]
        self._echo(f"{name} ended with status {status}; starting it again (log: {self._logs / name}.log)")

    def _announce(self) -> None:
        host = f"[{self._host}]" if ":" in self._host else self._host
        url = f"http://{host}:{self._ports['API']}"
        websocket_url = f"ws://{host}:{self._ports['WebSocket']}/ws"
        data_dir.write_client_file(
            self._loaded.data_dir,
            data_dir.ClientFile(
                url=url,
                websocket_url=websocket_url,
                api_key="" if self._loaded.api_keys else self._key,
                pid=os.getpid(),
            ),
        )
        shown = "(yours, from the environment)" if self._loaded.api_keys else self._key
        fragment = "" if self._loaded.api_keys else f"/#key={self._key}"
        self._echo("")
        self._echo("Sophia is up.")
        self._echo(f"  page       {url}{fragment}")
        self._echo(f"  API        {url}/v1   (OpenAI clients: base_url={url}/v1; docs: {url}/docs)")
        self._echo(f"  API key    {shown}")
        self._echo(f"  WebSocket  {websocket_url}")
        self._echo(f"  metrics    http://{host}:{self._ports['metrics']}/metrics")
        if self._emulated:
            cloud = self._environment["SOPHIA_EMULATED_CLOUD_URL"].removesuffix("/api/v1")
            self._echo(f"  cloud      emulated, nobody pays (statement of account: {cloud}/emulator/statement)")
        self._echo(f"  data       {self._loaded.data_dir}")
        self._echo("  stop       Ctrl-C (running tasks finish or go back to the queue)")
        self._echo("")

    async def _stop_intake(self) -> None:
        """The gateway accepts no more, and the router launches no more."""
        names = {"gateway", "router"}
        await asyncio.gather(*(child.stop() for child in self._children if child.spec.name in names))

    async def _workers_gone(self) -> None:
        """Workers drain because their tether was cut; what does not go in time is left to its lease and killed."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + WORKERS_GRACE_S
        for folder in ("workers", *((emulated.FOLDER,) if self._emulated else ())):
            provider = LocalProvider(lambda _: (), self._loaded.data_dir / folder, {}, None)
            while left := await provider.machines():
                if loop.time() > until_s:
                    await asyncio.gather(*(provider.terminate(machine.ref) for machine in left))
                    break
                await asyncio.sleep(0.1)

    async def _stop_children(self) -> None:
        await asyncio.gather(*(child.stop() for child in self._children))
        self._children.clear()


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, list[int]]]:
    """A pipe whose reading end children inherit: it ends when the writing end is closed, by us or by our death."""
    reading, writing = os.pipe()
    hold = [writing]
    try:
        yield reading, hold
    finally:
        for fd in (reading, *hold):
            os.close(fd)
