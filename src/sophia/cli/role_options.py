"""Options that every long-lived command has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from sophia.cli.logs import LEVELS
from sophia.settings.load import PROFILES

Command = TypeVar("Command", bound=Callable[..., Any])


def config_options(command: Command) -> Command:
    """``--config``, ``--data-dir``, ``--profile`` and ``--log-level``."""
    path = click.Path(path_type=Path)
    for option in (
        click.option("--log-level", type=click.Choice(LEVELS), default="info", show_default=True),
        click.option(
            "--profile", type=click.Choice(PROFILES), help="[default: SOPHIA_PROFILE, else the file's, else local]"
        ),
        click.option("--data-dir", type=path, help="[default: SOPHIA_DATA_DIR, else ./.sophia]"),
        click.option("--config", "config_path", type=path, help="[default: SOPHIA_CONFIG, else ./sophia.yaml]"),
    ):
        command = option(command)
    return command


def listen_options(command: Command) -> Command:
    """``--host``, ``--port``, ``--metrics-port``, and the pipe by which ``sophia up`` holds its children."""
    port = click.IntRange(0, 65535)
    for option in (
        click.option("--tether-fd", type=int, hidden=True),
        click.option("--metrics-port", type=port, help="Serve Prometheus metrics there.  [default: none]"),
        click.option("--port", type=port, help="0 takes a free one.  [default: the settings']"),
        click.option("--host", help="[default: the settings']"),
    ):
        command = option(command)
    return command
