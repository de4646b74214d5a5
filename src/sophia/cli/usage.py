"""The command about usage."""

from __future__ import annotations

from typing import Any

import click

from sophia.cli import words
from sophia.cli.connection import Connection, connection_options
from sophia.cli.output import console, note, print_json

LABELS = ("day", "tenant", "key", "model", "provider")


@click.command()
@click.option("--from", "from_day", help="A UTC day such as 2026-01-31. [default: 30 days ago]")
@click.option("--to", "to_day", help="[default: today]")
@click.option("--by", help="Of day, tenant, key, model, provider; several with commas. [default: day,model]")
@click.option("--tenant", help="Only of this tenant (operators see all).")
@connection_options()
def usage(
    from_day: str | None,
    to_day: str | None,
    by: str | None,
    tenant: str | None,
    connection: Connection,
    as_json: bool,
) -> None:
    """What model calls and tasks used, and what they cost.

    \b
      sophia usage
      sophia usage --by key --from 2026-01-01
    """
    asked = {"from": from_day, "to": to_day, "by": by, "tenant": tenant}
    report = connection.run(lambda api: api.usage({name: value for name, value in asked.items() if value}))
    if as_json:
        print_json(report)
        return
    _show_calls(report)
    _show_tasks(report)


def _show_calls(report: dict[str, Any]) -> None:
    from rich.table import Table

    if not report["rows"]:
        note(f"no model calls from {report['from_day']} to {report['to_day']}")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for label in report["by"]:
        table.add_column(label.upper(), overflow="fold")
    for name in ("CALLS", "CACHED", "READ", "WRITTEN", "EMBEDDED", "COST", "SAVED"):
        table.add_column(name, justify="right", no_wrap=True)
    total: dict[str, Any] = {**dict.fromkeys(LABELS, ""), **report["total"]}
    for number, row in enumerate([*report["rows"], total]):
        labels = [row[label] for label in report["by"]]
        if number == len(report["rows"]):
            labels[0] = "total"
        table.add_row(
            *labels,
            *(f"{row[name]:,}" for name in ("requests", "cached", "input_tokens", "output_tokens", "embedding_tokens")),
            words.money(row["cost_usd"]),
            words.money(row["saved_usd"]),
        )
    console().print(table)


def _show_tasks(report: dict[str, Any]) -> None:
    for row in report["tasks"]:
        tokens = row["input_tokens"] + row["output_tokens"] + row["embedding_tokens"]
        tasks = f"{row['tasks']:,} {'task' if row['tasks'] == 1 else 'tasks'}"
        note(f"{row['type']}: {tasks}, {tokens:,} tokens, {words.money(row['cost_usd'])}")
