"""The command about budgets."""

from __future__ import annotations

import click

from sophia.cli import words
from sophia.cli.connection import Connection, connection_options
from sophia.cli.output import clean, console, note, print_json


@click.command()
@click.option("--tenant", help="Another tenant's (operators only).")
@connection_options()
def budgets(tenant: str | None, connection: Connection, as_json: bool) -> None:
    """Show what is spent, reserved and left of your budgets. A ? is unknown, which is not zero.

    Days and months are UTC's. Budgets are defined under `tenants` in sophia.yaml.
    """
    from rich.table import Table

    view = connection.run(lambda api: api.budgets(tenant))
    if as_json:
        print_json(view)
        return
    if view["budgets"]:
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("BUDGET", no_wrap=True)
        table.add_column("PERIOD", no_wrap=True)
        for name in ("CAP", "SPENT", "RESERVED", "LEFT", "RESETS"):
            table.add_column(name, justify="right", no_wrap=True)
        for row in view["budgets"]:
            figures = (words.amount(row[key], row["unit"]) for key in ("cap", "spent", "reserved", "left"))
            table.add_row(row["name"], row["period"], *figures, words.ago(row["resets_at"]))
        console().print(table)
    note(clean(view["summary"]))
