"""Commands that run on a GPU host, in the runner's container."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from sophia.cli.groups import Entry, LazyGroup
from sophia.cli.logs import configure_logging
from sophia.cli.output import print_json

SECTIONS = {
    "On a GPU host": {
        "join": Entry("sophia.cli.host:join_command", "Exchange a join token for credentials."),
        "self-test": Entry("sophia.cli.host:self_test_command", "Try every GPU."),
        "end": Entry("sophia.cli.host:end_command", "Terminate this host at its cloud."),
    }
}
_PATH = click.Path(path_type=Path)


@click.group("host", cls=LazyGroup, sections=SECTIONS, subcommand_metavar="COMMAND [ARGS]...")
def host() -> None:
    """What a GPU host does by itself; its set-up document calls these."""


@click.command("join")
@click.option("--url", required=True, help="The platform's.")
@click.option("--token-file", type=_PATH, required=True)
@click.option("--folder", type=_PATH, required=True, help="Where credentials.env and sophia.yaml are written.")
@click.option("--patience-s", type=click.FloatRange(min=0), default=600.0, show_default=True)
def join_command(url: str, token_file: Path, folder: Path, patience_s: float) -> None:
    """Exchange the one-time join token for credentials and settings."""
    from sophia.hosts.join import join

    configure_logging("info", role="host")
    joined = asyncio.run(join(url, token_file.read_text().strip(), folder, patience_s))
    click.echo(f"{joined.instance_id} joined pool {joined.pool}")


@click.command("self-test")
@click.option("--gpus", type=click.IntRange(min=0), help="How many there must be.  [default: at least one]")
def self_test_command(gpus: int | None) -> None:
    """Write to and read from every GPU; prints what they are."""
    from sophia.hosts.self_test import self_test

    print_json([] if gpus == 0 else self_test(gpus))


@click.command("end")
@click.option("--id", "instance_id", required=True, help="The instance's.")
@click.option("--config", "config_path", type=_PATH)
def end_command(instance_id: str, config_path: Path | None) -> None:
    """Terminate this host through its cloud's API, where the host has the key for it."""
    from sophia.app.machines import end_machine
    from sophia.cli.environment import environ
    from sophia.settings.load import load

    configure_logging("info", role="host")
    asyncio.run(end_machine(load(config_path, None, environ(), None), instance_id))
