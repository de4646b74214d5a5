"""Commands about the platform: queue and pools."""

from __future__ import annotations

from typing import Any

import click

from sophia.cli import words
from sophia.cli.connection import Connection, connection_options
from sophia.cli.output import console, note, print_json


@click.command()
@click.option("--all", "show_all", is_flag=True, help="Empty streams too.")
@connection_options()
def queue(show_all: bool, connection: Connection, as_json: bool) -> None:
    """Show what waits and runs, by stream and priority. A ? is unknown, which is not zero."""
    from rich.table import Table

    view = connection.run(lambda api: api.queue())
    if as_json:
        print_json(view)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("STREAM", no_wrap=True)
    table.add_column("PRIORITY", no_wrap=True)
    for name in ("WAITING", "RUNNING", "DELAYED", "RETRYING", "OLDEST"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in view["streams"]:
        if show_all or _is_busy(row):
            age = row["oldest_age_s"]
            table.add_row(
                row["stream"].removeprefix("stream:"),
                row["priority"],
                *(words.count(row[key]) for key in ("waiting", "running", "delayed", "retrying")),
                "" if age is None else words.duration(age),
            )
    out = console()
    if table.row_count:
        out.print(table)
        out.print()
    sums = ", ".join(f"{words.count(view[key])} {key}" for key in ("waiting", "running", "delayed", "retrying", "dead"))
    out.print(sums)
    if view["poison"]:
        note(f"{view['poison']:,} entries could not be decoded; `sophia dead --poison` shows them")


def _is_busy(row: dict[str, Any]) -> bool:
    return any(row[key] != 0 for key in ("waiting", "running", "delayed", "retrying"))
