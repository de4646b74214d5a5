"""Commands about pools: list, explain, and order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sophia.cli import environment, exit_codes, words
from sophia.cli.connection import Connection, connection_options
from sophia.cli.output import console, note, one_line, print_json

if TYPE_CHECKING:
    from sophia.pools.reaper import Unwanted


@click.group(invoke_without_command=True)
@connection_options()
@click.pass_context
def pools(ctx: click.Context, connection: Connection, as_json: bool) -> None:
    """List pools with their instances, and why there are that many; or give orders.

    \b
      sophia pools
      sophia pools why embedding
      sophia pools launch embedding            says the price first, and asks
      sophia pools drain embedding ID
      sophia pools reap --dry-run              works without a platform that is up
    """
    if ctx.invoked_subcommand is None:
        _list(connection, as_json)


@pools.command(name="list")
@connection_options()
def list_(connection: Connection, as_json: bool) -> None:
    """The same as `sophia pools`."""
    _list(connection, as_json)


def _list(connection: Connection, as_json: bool) -> None:
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
        if pool.get("usd_per_hour") or pool.get("spent_usd_month"):
            out.print(f"  cost     {_cost(pool)}", soft_wrap=True)
        out.print(f"  work     {words.count(pool['waiting'])} waiting, {words.count(pool['running'])} running")
        if pool["reason"]:
            out.print(f"  because  {one_line(pool['reason'], 300)}", soft_wrap=True)
        for instance in pool["instances"]:
            out.print(_instance(instance), soft_wrap=True)


@pools.command()
@click.argument("pool")
@connection_options()
def why(pool: str, connection: Connection, as_json: bool) -> None:
    """Say why a pool has the instances that it has, and what they cost."""
    view = connection.run(lambda api: api.pools())
    found = next((one for one in view["pools"] if one["name"] == pool), None)
    if found is None:
        names = ", ".join(one["name"] for one in view["pools"])
        raise click.UsageError(f"there is no pool {pool!r}; known: {names}")
    if as_json:
        print_json(found)
        return
    out = console()
    out.print(f"{pool}: {words.count(found['desired'])} wanted, {len(_alive(found))} there", soft_wrap=True)
    out.print(f"  because  {found['reason'] or 'nothing is known yet'}", soft_wrap=True)
    out.print(f"  cost     {_cost(found)}", soft_wrap=True)
    for instance in found["instances"]:
        out.print(_instance(instance), soft_wrap=True)
        if instance["state"] == "terminated":
            continue
        out.print(f"      {instance['instance_type']} in {instance['region'] or '?'}", soft_wrap=True)


def _order(connection: Connection, as_json: bool, pool: str, verb: str, instance: str | None, dry_run: bool) -> int:
    answer = connection.run(lambda api: api.order_pool(pool, verb, instance, dry_run))
    if as_json:
        print_json(answer)
    else:
        (click.echo if answer["ok"] else note)(answer["message"])
    return exit_codes.OK if answer["ok"] else exit_codes.FAILED


_DRY_RUN = click.option("--dry-run", is_flag=True, help="Only say what would be done.")
_YES = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


@pools.command()
@click.argument("pool")
@_DRY_RUN
@connection_options()
def cordon(pool: str, dry_run: bool, connection: Connection, as_json: bool) -> int:
    """Launch nothing in a pool until it is uncordoned."""
    return _order(connection, as_json, pool, "cordon", None, dry_run)


@pools.command()
@click.argument("pool")
@_DRY_RUN
@connection_options()
def uncordon(pool: str, dry_run: bool, connection: Connection, as_json: bool) -> int:
    """Let a pool launch again."""
    return _order(connection, as_json, pool, "uncordon", None, dry_run)


@pools.command()
@click.argument("pool")
@click.argument("instance")
@_DRY_RUN
@connection_options()
def drain(pool: str, instance: str, dry_run: bool, connection: Connection, as_json: bool) -> int:
    """Let an instance finish or hand back its work, and go."""
    return _order(connection, as_json, pool, "drain", instance, dry_run)


@pools.command()
@click.argument("pool")
@click.argument("instance")
@_DRY_RUN
@_YES
@connection_options()
def terminate(pool: str, instance: str, dry_run: bool, yes: bool, connection: Connection, as_json: bool) -> int:
    """End an instance at once; what runs on it starts again elsewhere."""
    return _asked(connection, as_json, pool, "terminate", instance, dry_run, yes)


@pools.command()
@click.argument("pool")
@_DRY_RUN
@_YES
@connection_options()
def launch(pool: str, dry_run: bool, yes: bool, connection: Connection, as_json: bool) -> int:
    """Launch one instance now, at a price that is said first."""
    return _asked(connection, as_json, pool, "launch", None, dry_run, yes)


def _asked(
    connection: Connection, as_json: bool, pool: str, verb: str, instance: str | None, dry_run: bool, yes: bool
) -> int:
    """Say what it comes to, and do it only when that is wanted."""
    if dry_run or yes:
        return _order(connection, as_json, pool, verb, instance, dry_run)
    plan = connection.run(lambda api: api.order_pool(pool, verb, instance, True))
    if not plan["ok"]:
        note(plan["message"])
        return exit_codes.FAILED
    click.confirm(f"{plan['message']}; go on?", abort=True, err=True)
    return _order(connection, as_json, pool, verb, instance, False)


@pools.command()
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path), help="[default: SOPHIA_CONFIG, else ./sophia.yaml]"
)
@click.option("--profile", help="[default: SOPHIA_PROFILE, else the file's, else local]")
@click.option("--data-dir", type=click.Path(path_type=Path), help="[default: SOPHIA_DATA_DIR, else ./.sophia]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, nothing else.")
@_DRY_RUN
@_YES
def reap(
    config_path: Path | None, profile: str | None, data_dir: Path | None, as_json: bool, dry_run: bool, yes: bool
) -> int:
    """End machines that no pool wants, by the providers' lists and the ledger alone: the platform need not be up.

    What is on record as live is left to its pool. Whoever runs a platform need not do this: its router does all the time.
    """
    import asyncio

    from sophia.app.reaping import end_unwanted, find_unwanted
    from sophia.settings.load import load

    loaded = load(config_path, data_dir, environment.environ(), profile)
    found = asyncio.run(find_unwanted(loaded, environment.environ()))
    if not as_json:
        _show_unwanted(found)
    ended: list[Unwanted] = []
    if found and not dry_run:
        if not yes:
            click.confirm(f"terminate {len(found)}?", abort=True, err=True)
        ended = asyncio.run(end_unwanted(loaded, environment.environ(), found))
    if as_json:
        print_json({"unwanted": found, "terminated": [one.machine.ref for one in ended]})
    elif ended:
        note(f"{len(ended)} terminated")
    return exit_codes.OK if dry_run or len(ended) == len(found) else exit_codes.FAILED


def _show_unwanted(found: list[Unwanted]) -> None:
    if not found:
        note("every machine is wanted")
    out = console()
    for one in found:
        price = one.machine.price_usd_per_hour
        cost = "" if price is None else f", {words.money(price)}/h"
        name = one.machine.name or one.machine.ref
        out.print(f"{name}  {one.provider} {one.machine.instance_type}{cost}: {one.reason}", soft_wrap=True)


def _cost(pool: dict[str, Any]) -> str:
    caps = {key: pool.get(f"max_usd_per_{key}") for key in ("day", "month")}
    of = {key: "" if cap is None else f" of {words.money(cap)}" for key, cap in caps.items()}
    return (
        f"{words.money(pool.get('usd_per_hour', 0))}/h now; "
        f"{words.money(pool.get('spent_usd_today', 0))}{of['day']} today, "
        f"{words.money(pool.get('spent_usd_month', 0))}{of['month']} this month"
    )


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
