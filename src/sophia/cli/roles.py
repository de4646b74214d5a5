"""The roles of the platform, one command each. `sophia up` starts them as child processes with the same options."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from sophia.cli import environment
from sophia.cli.logs import configure_logging
from sophia.cli.role_options import config_options, listen_options
from sophia.cli.serving import serve


def _run(
    role: str, config_path: Path | None, data_dir: Path | None, profile: str | None, log_level: str, **options: Any
) -> int:
    """``options`` that were not given are ``None``; ``environment`` is what processes started from here get."""
    from sophia.app.roles import run_role
    from sophia.settings.load import load

    configure_logging(log_level, role=role)
    environ = environment.environ()
    loaded = load(config_path, data_dir, environ, profile)

    async def work(stop: asyncio.Event) -> None:
        await run_role(role, loaded, {**options, "environment": environ}, stop)

    return serve(work)


@click.command()
@click.option("--websocket-url", help="Where the page finds live events.  [default: derived from its own address]")
@config_options
@listen_options
def gateway(**options: Any) -> int:
    """Serve the HTTP API and the page."""
    return _run("gateway", **options)


@click.command()
@click.option(
    "--page-origin",
    multiple=True,
    help="Where the page is served, as http://HOST:PORT, when it is not this host's API port; repeatable.",
)
@config_options
@listen_options
def websocket(**options: Any) -> int:
    """Serve live events at /ws: subscribe to tasks, pools and the queue, resume from a cursor."""
    return _run("websocket", **options)


@click.command()
@click.option("--worker-tether-fd", type=int, hidden=True)
@config_options
@listen_options
def router(**options: Any) -> int:
    """Keep the queue, write the ledger, scale the pools. Several may run: one leads, the others stand by."""
    return _run("router", **options)


@click.command()
@click.option("--pool", required=True, help="Whose streams and slots it takes, such as cpu-workers.")
@click.option("--id", "id", help="Its name among the pool's instances.  [default: a new one]")
@click.option(
    "--lease-s",
    type=click.FloatRange(min=1),
    help="Drain and leave with status 75 when no pool manager was seen at work for so many seconds.",
)
@click.option("--seen-file", type=click.Path(path_type=Path), help="Touched whenever one is seen.")
@config_options
@listen_options
def worker(**options: Any) -> int:
    """Run the tasks of one pool. A signal drains it: what runs is finished or handed back."""
    return _run("worker", **options)


@click.command(name="emulated-cloud")
@click.option("--worker-tether-fd", type=int, hidden=True)
@config_options
@listen_options
def emulated_cloud(**options: Any) -> int:
    """Serve an emulated GPU cloud, whose machines are processes here. `sophia up --cloud emulated` starts it."""
    return _run("emulated-cloud", **options)


@click.command(name="model-server")
@click.argument("kind", type=click.Choice(["chat", "embedding"]))
@config_options
@listen_options
def model_server(**options: Any) -> int:
    """Serve a small local model over OpenAI's interface: chat (llama.cpp) or embedding (ONNX Runtime)."""
    return _run("model-server", **options)


@click.command()
@click.option("--pool", required=True, help="Whose models are served.")
@click.option("--gpu", metavar="TYPE", help="The instance type of this host.  [default: the pool's first]")
@click.option("--id", "id", help="Its name among the pool's instances.  [default: the host's name]")
@click.option("--advertise", metavar="HOST", help="Where gateways reach this host.  [default: 127.0.0.1]")
@click.option("--command", default="vllm", show_default=True, help="What is run with vLLM's arguments.")
@config_options
@listen_options
def vllm(**options: Any) -> int:
    """Serve the models of a pool with vLLM: start, prove, announce, watch; a signal drains them."""
    return _run("vllm", **options)
