"""Commands about the platform: queue and pools."""

from __future__ import annotations

from typing import Any

import click

from sophia.cli import words
from sophia.cli.connection import Connection, connection_options
from sophia.cli.output import console, note, one_line, print_json


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


@click.command()
@connection_options()
def pools(connection: Connection, as_json: bool) -> None:
    """List pools with their instances, and why there are that many."""
    from rich.text import Text

    view = connection.run(lambda api: api.pools())
    if as_json:
        print_json(view)
        return
    out = console()
    if view["at"] is None:
        note("the pool manager has not reported yet")
    for pool in view["pools"]:
        idle = (
            "stays" if pool["idle_timeout_s"] is None else f"leaves after {words.duration(pool['idle_timeout_s'])} idle"
        )
        out.print(Text(pool["name"], style="bold").append(f"  {pool['provider']}", style="not bold dim"))
        out.print(f"  serves   {_streams(pool)}", soft_wrap=True)
        out.print(
            f"  size     {len(_alive(pool))} of {pool['min']}–{pool['max']}, wanted {words.count(pool['desired'])}; {idle}"
        )
        out.print(f"  work     {words.count(pool['waiting'])} waiting, {words.count(pool['running'])} running")
        if pool["reason"]:
            out.print(f"  because  {one_line(pool['reason'], 300)}", soft_wrap=True)
        for instance in pool["instances"]:
            out.print(_instance(instance), soft_wrap=True)


def _streams(pool: dict[str, Any]) -> str:
    return ", ".join(stream.removeprefix("stream:") for stream in pool["streams"]) or "models only"


def _alive(pool: dict[str, Any]) -> list[dict[str, Any]]:
    return [instance for instance in pool["instances"] if instance["state"] != "terminated"]


def _instance(instance: dict[str, Any]) -> Any:
    from rich.text import Text

    state = instance["state"]
    line = Text(f"    {instance['id']}  ").append(f"{state:<10}", style=words.STATE_STYLES.get(state, ""))
    line.append(
        f" {words.count(instance['busy'])}/{instance['slots']} busy, asked for {words.ago(instance['requested_at'])}"
    )
    if instance["price_usd_per_hour"]:
        line.append(f", {words.money(instance['price_usd_per_hour'])}/h")
    return line.append(f"  {one_line(instance['reason'], 120)}", style="dim")
