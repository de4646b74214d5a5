"""Commands about virtual keys."""

from __future__ import annotations

from typing import Any

import click

from sophia.cli import words
from sophia.cli.connection import Connection, connection_options
from sophia.cli.output import clean, console, note, print_json
from sophia.cli.values import Moment


@click.group()
def keys() -> None:
    """Virtual keys: each for one tenant, with scopes, models, limits and a budget of its own.

    \b
      sophia keys create "chat widget" --models fast-model --requests-per-minute 60 --usd-per-day 5 --expires 30d
      sophia keys list
      sophia keys revoke ID
    """


@keys.command()
@click.argument("name")
@click.option("--tenant", help="Another tenant than one's own (operators only).")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(["inference", "tasks", "admin"]),
    default=("inference",),
    show_default=True,
    help="May be repeated.",
)
@click.option("--models", help="Only these, separated by commas. [default: all]")
@click.option("--requests-per-minute", type=click.IntRange(min=1), help="[default: limits.requests_per_minute]")
@click.option("--burst", type=click.IntRange(min=1), help="Requests at once after a pause.")
@click.option("--tokens-per-minute", type=click.IntRange(min=1), help="[default: no limit]")
@click.option("--token-burst", type=click.IntRange(min=1), help="[default: a minute's]")
@click.option("--usd-per-day", type=click.FloatRange(min=0), help="Budget of this key alone.")
@click.option("--usd-per-month", type=click.FloatRange(min=0))
@click.option("--expires", type=Moment(), help="A time, or 12h, 30d from now. [default: never]")
@connection_options()
def create(
    name: str,
    tenant: str | None,
    scopes: tuple[str, ...],
    models: str | None,
    usd_per_day: float | None,
    usd_per_month: float | None,
    expires: str | None,
    connection: Connection,
    as_json: bool,
    **limits: int | None,
) -> None:
    """Make a key. It is shown once: keep it now."""
    body: dict[str, Any] = {"name": name, "scopes": list(scopes)}
    body |= {what: value for what, value in {"tenant": tenant, **limits}.items() if value is not None}
    budget = {"usd_per_day": usd_per_day, "usd_per_month": usd_per_month}
    body["budget"] = {what: value for what, value in budget.items() if value is not None}
    if models:
        body["models"] = [model.strip() for model in models.split(",") if model.strip()]
    if expires is not None:
        body["expires_at"] = expires
    made = connection.run(lambda api: api.create_key(body))
    if as_json:
        print_json(made)
        return
    note(f"key {made['id']} of tenant {made['tenant']}; it is shown this once:")
    click.echo(made["key"])


@keys.command(name="list")
@connection_options()
def list_(connection: Connection, as_json: bool) -> None:
    """List keys, newest first."""
    listed = connection.run(lambda api: api.keys())
    if as_json:
        print_json(listed)
        return
    if not listed["keys"]:
        note("no virtual keys; `sophia keys create NAME` makes one")
    out = console()
    for row in listed["keys"]:
        out.print(f"{row['id']}  {clean(row['name'])}  [{row['tenant']}]  {_state(row)}", markup=False, soft_wrap=True)
        out.print(f"  {'; '.join(_rules(row))}", markup=False, soft_wrap=True)


@keys.command()
@click.argument("key_id", metavar="ID")
@connection_options()
def revoke(key_id: str, connection: Connection, as_json: bool) -> None:
    """Revoke a key: every gateway refuses it within 2 s."""
    key = connection.run(lambda api: api.revoke_key(key_id))
    if as_json:
        print_json(key)
    else:
        note(f"{key['id']} ({clean(key['name'])}) is revoked")


def _state(row: dict[str, Any]) -> str:
    if row["revoked_at"]:
        return f"revoked {words.ago(row['revoked_at'])}"
    if row["expires_at"]:
        return f"expires {words.ago(row['expires_at'])}"
    return "live"


def _rules(row: dict[str, Any]) -> list[str]:
    rules = [", ".join(row["scopes"]), f"models {', '.join(row['models'])}" if row["models"] else "all models"]
    if row["requests_per_minute"]:
        rules.append(f"{row['requests_per_minute']:,} requests/min (burst {row['burst']:,})")
    if row["tokens_per_minute"]:
        rules.append(f"{row['tokens_per_minute']:,} tokens/min (burst {row['token_burst']:,})")
    rules += [f"{name.replace('_', ' ')} {value:g}" for name, value in row["budget"].items()]
    return rules
