"""``sophia version``."""

from __future__ import annotations

import platform

import click

from sophia import __version__
from sophia.cli.output import print_json


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def version(as_json: bool) -> None:
    """Show the version of Sophia and of the Python it runs on."""
    if as_json:
        print_json({"version": __version__, "python": platform.python_version()})
    else:
        click.echo(f"sophia {__version__} (Python {platform.python_version()})")
