"""One role in this process, from settings to a service that runs until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from sophia import __version__
from sophia.app import build, data_dir, machines
from sophia.app.embedders import embedding_engine
from sophia.app.gpu_hosts import join_tokens
from sophia.app.metrics import metrics_server
from sophia.app.model_servers import run_vllm
from sophia.events.base import EventLog
from sophia.hosts.dead_man import Abandoned, DeadMan
from sophia.nouns.clock import SystemClock
from sophia.nouns.errors import ConfigError
from sophia.nouns.pool import PoolsSnapshot
from sophia.settings.loaded import Loaded

Options = Mapping[str, Any]
"""Of the command line: lease_s, seen_file, host, port, metrics_port, websocket_url, page_origin, pool, id, kind, tether_fd, worker_tether_fd, environment."""

STATIC_DIR = Path(__file__).parent.parent / "gateway" / "static"


async def run_role(role: str, loaded: Loaded, options: Options, stop: asyncio.Event) -> None:
    """Run until ``stop`` is set, or the process that holds the tether is gone; then drain."""
    runners: dict[str, Callable[[Loaded, Options, asyncio.Event], Awaitable[None]]] = {
        "gateway": run_gateway,
        "websocket": run_websocket,
        "router": run_router,
        "worker": run_worker,
        "model-server": run_model_server,
        "emulated-cloud": run_emulated_cloud,
        "vllm": run_vllm,
    }
    with _tethered(options.get("tether_fd"), stop), metrics_server(options.get("metrics_port"), loaded):
        await runners[role](loaded, options, stop)


@contextlib.contextmanager
def _tethered(fd: int | None, stop: asyncio.Event) -> Any:
    """Stop when the other end of this pipe is closed, which the kernel does when its holder dies."""
    if fd is None:
        yield
        return
    loop = asyncio.get_running_loop()

    def cut() -> None:
        loop.remove_reader(fd)
        stop.set()

    loop.add_reader(fd, cut)
    try:
        yield
    finally:
        loop.remove_reader(fd)


@contextlib.asynccontextmanager
async def _running(service: Awaitable[None]) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.ensure_future(service)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _until(stop: asyncio.Event, service: asyncio.Task[None]) -> None:
    """Wait for the stop; a service that ends before it has failed, and its error comes through."""
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({stopping, service}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if service.done():
        service.result()


async def run_gateway(loaded: Loaded, options: Options, stop: asyncio.Event) -> None:
    from prometheus_client import REGISTRY

    from sophia.events.hub import Hub
    from sophia.gateway.deps import GatewayDeps
    from sophia.gateway.service import Gateway

    server = loaded.settings.server
    async with (
        build.backbone(loaded) as backbone,
        build.ledger(loaded) as ledger,
        build.objects(loaded) as objects,
        build.models(loaded) as models,
        build.call_gate(loaded, backbone, ledger) as gate,
        join_tokens(loaded) as tokens,
    ):
        hub = Hub(backbone.events)
        deps = GatewayDeps(
            loaded=loaded,
            queue=backbone.queue,
            poison=backbone.poison,
            balances=backbone.balances,
            events=backbone.events,
            hub=hub,
            ledger=ledger,
            files=ledger.files,
            batches=ledger.batches,
            intake=build.intake(loaded, backbone.queue, ledger, objects),
            packing=build.packing(loaded, objects),
            models=models,
            keys=ledger.keys,
            gate=gate,
            calls=ledger.calls,
            flush=build.usage_flush(loaded, backbone, ledger),
            key_secret=loaded.key_secret or data_dir.key_secret(loaded.data_dir),
            clock=SystemClock(),
            static_dir=STATIC_DIR,
            version=__version__,
            websocket_url=options.get("websocket_url"),
            registry=REGISTRY,
            join_tokens=tokens,
        )
        gateway = Gateway(deps, options.get("host") or server.host, _port(options, server.port))
        async with _running(hub.run()), _running(gateway.run()) as serving:
            await _until(stop, serving)
            await gateway.stop()
            await serving
            await hub.stop()


async def run_websocket(loaded: Loaded, options: Options, stop: asyncio.Event) -> None:
    from prometheus_client import REGISTRY

    from sophia.events.hub import Hub
    from sophia.websocket.deps import WebSocketDeps
    from sophia.websocket.service import WebSocketServer

    server = loaded.settings.server
    async with build.backbone(loaded) as backbone:
        hub = Hub(backbone.events)
        deps = WebSocketDeps(
            loaded=loaded,
            events=backbone.events,
            hub=hub,
            clock=SystemClock(),
            registry=REGISTRY,
            allowed_origins=frozenset(options.get("page_origin") or ()),
        )
        service = WebSocketServer(
            deps, options.get("host") or server.host, _port(options, server.websocket_port or server.port + 1)
        )
        async with _running(hub.run()), _running(service.run()) as serving:
            await _until(stop, serving)
            await service.stop()
            await serving
            await hub.stop()


async def run_router(loaded: Loaded, options: Options, stop: asyncio.Event) -> None:
    from sophia.pools.manager import PoolManager
    from sophia.router.batches import BatchKeeper
    from sophia.router.service import Router
    from sophia.router.sweep import Sweeper

    clock = SystemClock()
    async with build.backbone(loaded) as backbone, build.ledger(loaded) as ledger, build.objects(loaded) as objects:
        providers = machines.providers(loaded, options, clock)
        manager = PoolManager(
            loaded.settings, providers, backbone.queue, backbone.upkeep, backbone.events, ledger, clock
        )
        intake = build.intake(loaded, backbone.queue, ledger, objects)
        router = Router(
            f"router-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}",
            queue=backbone.queue,
            upkeep=backbone.upkeep,
            events=backbone.events,
            ledger=ledger,
            intake=intake,
            sweeper=Sweeper(objects, ledger, clock),
            pools=manager,
            settings=loaded.settings,
            clock=clock,
            flush=build.usage_flush(loaded, backbone, ledger),
            keys=ledger.keys,
            calls=ledger.calls,
            new_batches=lambda: BatchKeeper(
                ledger.batches,
                ledger.files,
                packing=build.packing(loaded, objects),
                intake=intake,
                queue=backbone.queue,
                events=backbone.events,
                settings=loaded.settings,
                clock=clock,
            ),
        )
        async with _running(router.run()) as serving:
            await _until(stop, serving)
            router.stop()
            await serving
        for provider in providers.values():
            await provider.close()


async def run_worker(loaded: Loaded, options: Options, stop: asyncio.Event) -> None:
    from prometheus_client import REGISTRY

    from sophia.hosts.gpu_metrics import register_gpu_metrics
    from sophia.worker.handlers import HANDLERS
    from sophia.worker.runtime import Worker

    if options.get("metrics_port") is not None:
        register_gpu_metrics(REGISTRY)
    pool = options["pool"]
    spec = loaded.settings.pools.get(pool)
    if spec is None:
        raise ConfigError(
            f"there is no pool {pool!r}", field="--pool", mend=f"one of {', '.join(sorted(loaded.settings.pools))}"
        )
    async with (
        build.backbone(loaded) as backbone,
        build.objects(loaded) as objects,
        build.models(loaded, spec) as models,
        _looked_after(backbone.events, options, stop) as abandoned,
    ):
        worker = Worker(
            options.get("id") or f"{pool}-{socket.gethostname()}-{os.getpid()}",
            pool,
            spec.streams,
            spec.slots,
            queue=backbone.work,
            models=models,
            settings=loaded.settings,
            handlers=HANDLERS,
            clock=SystemClock(),
            drain_s=spec.drain_timeout_s,
            packing=build.packing(loaded, objects),
        )
        serving = asyncio.create_task(worker.run())
        await _until(stop, serving)
        worker.stop()
        await serving
        if abandoned.is_set():
            raise Abandoned(f"no pool manager was seen at work for {options['lease_s']:g} s")


@contextlib.asynccontextmanager
async def _looked_after(events: EventLog, options: Options, stop: asyncio.Event) -> AsyncIterator[asyncio.Event]:
    """Stop when the lease of this host runs out, which the event given here says afterwards."""
    abandoned = asyncio.Event()
    lease_s = options.get("lease_s")
    if lease_s is None:
        yield abandoned
        return

    from sophia.pools.journal import SNAPSHOT

    async def sight() -> int | None:
        body = await events.snapshot(SNAPSHOT)
        return None if body is None else msgspec.json.decode(body, type=PoolsSnapshot).at_ms

    async def watch() -> None:
        await DeadMan(sight, lease_s, SystemClock(), options.get("seen_file")).run()
        abandoned.set()
        stop.set()

    async with _running(watch()):
        yield abandoned


async def run_model_server(loaded: Loaded, options: Options, stop: asyncio.Event) -> None:
    """``chat`` is llama.cpp's own server; ``embedding`` serves the packaged one, or that of ``embedding.folder``."""
    host, port = options.get("host") or "127.0.0.1", _port(options, 0)
    if options["kind"] == "chat":
        from sophia.inference.llama_server import serve as serve_chat

        await serve_chat(host, port, loaded.settings.llama, stop)
        return
    from sophia.inference.embedding_server import serve as serve_embedding

    max_wait_s = loaded.settings.embedding.max_wait_ms / 1000
    await serve_embedding(host, port, embedding_engine(loaded), stop, max_wait_s=max_wait_s)


async def run_emulated_cloud(loaded: Loaded, options: Options, stop: asyncio.Event) -> None:
    from sophia.app.emulated import serve_cloud

    await serve_cloud(loaded, options, stop)


def _port(options: Options, default: int) -> int:
    port = options.get("port")
    return default if port is None else port
