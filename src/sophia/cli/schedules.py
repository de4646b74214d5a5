"""The command about schedules."""

from __future__ import annotations

from typing import Any

import click

from sophia.cli import words
from sophia.cli.connection import Connection, connection_options
from sophia.cli.output import clean, console, note, print_json


@click.command()
@connection_options()
def schedules(connection: Connection, as_json: bool) -> None:
    """List schedules with their next and last occurrence. They are defined under `schedules` in sophia.yaml."""
    from rich.table import Table

    listed = connection.run(lambda api: api.schedules())
    if as_json:
        print_json(listed)
        return
    if not listed["schedules"]:
        note("no schedules; they are defined under `schedules` in sophia.yaml")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("NAME", "WHEN", "TYPE", "NEXT", "LAST"):
        table.add_column(name, no_wrap=True)
    table.add_column("TASK", overflow="fold")
    for row in listed["schedules"]:
        table.add_row(
            row["name"],
            f"{row['cron']} {row['time_zone']}",
            row["type"],
            _next(row),
            words.ago(row["last_at"]),
            _outcome(row),
        )
    console().print(table)


def _next(row: dict[str, Any]) -> str:
    if not row["enabled"]:
        return "disabled"
    return words.ago(row["next_at"]) or "never"


def _outcome(row: dict[str, Any]) -> str:
    if row["last_error"]:
        return f"refused: {clean(words.error(row['last_error']))}"
    return row["last_task_id"] or ""
