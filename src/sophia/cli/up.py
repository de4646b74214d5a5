"""``sophia up``."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from sophia.cli import environment
from sophia.cli.logs import configure_logging
from sophia.cli.role_options import config_options
from sophia.cli.serving import serve


@click.command()
@click.option(
    "--port",
    type=click.IntRange(1, 65533),
    help="API and page; WebSockets are one above, metrics two.  [default: 8080, 8081, 9091 of the settings]",
)
@click.option(
    "--cloud",
    type=click.Choice(["emulated"]),
    help="Take GPU pools to an emulated cloud, whose machines are processes here (the same as --profile emulated).",
)
@config_options
def up(
    port: int | None,
    cloud: str | None,
    config_path: Path | None,
    data_dir: Path | None,
    profile: str | None,
    log_level: str,
) -> int:
    """Start the whole platform here, in the foreground. Ctrl-C drains and stops it.

    \b
      sophia up
      sophia up --port 9000 --data-dir /tmp/sophia
      sophia up --cloud emulated
    """
    from sophia.app.up import run_up
    from sophia.settings.load import load

    configure_logging(log_level, role="up")
    environ = environment.environ()
    if cloud is not None and profile not in (None, cloud):
        raise click.UsageError(f"--cloud {cloud} and --profile {profile} contradict each other")
    loaded = load(config_path, data_dir, environ, cloud or profile)

    async def work(stop: asyncio.Event) -> None:
        await run_up(loaded, port=port, echo=click.echo, stop=stop, environ=environ)

    return serve(work)
