"""Commands about dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sophia.cli import exit_codes, words
from sophia.cli.connection import Connection, connection_options
from sophia.cli.output import clean, console, note, one_line, print_json

if TYPE_CHECKING:
    from sophia.client.api import Api

MAX_LIST = 200
MAX_REDRIVE = 1_000


@click.command()
@click.option("--limit", "-n", type=click.IntRange(min=1, max=MAX_LIST), default=20, show_default=True)
@click.option("--poison", is_flag=True, help="Instead: queue entries that could not be decoded (operators only).")
@connection_options()
def dead(limit: int, poison: bool, connection: Connection, as_json: bool) -> None:
    """List dead letters, newest first: tasks that used up their attempts, with their last error.

    They stay until `sophia redrive` queues them again.
    """
    listed = connection.run(lambda api: api.poison(limit) if poison else api.dead_letters(limit))
    if as_json:
        print_json(listed)
    elif poison:
        _show_poison(listed)
    else:
        _show_dead(listed, limit)


def _show_dead(listed: dict[str, Any], limit: int) -> None:
    from rich.text import Text

    if not listed["tasks"]:
        note("no dead letters")
        return
    out = console()
    for row in listed["tasks"]:
        head = Text(f"{row['id']}  ", style="bold").append(f"{row['type']}  ", style="not bold")
        head.append(f"{row['attempts']} attempts, died {words.ago(row['finished_at'])}", style="not bold dim")
        out.print(head)
        out.print(f"  what   {one_line(row['title'], 200)}", soft_wrap=True)
        if row["error"]:
            out.print(f"  error  {one_line(words.error(row['error']), 300)}", soft_wrap=True)
    more = f"there are more than {limit}; " if listed["more"] else ""
    note(f"{more}`sophia redrive ID` queues one again, `sophia redrive --all` all")


def _show_poison(listed: dict[str, Any]) -> None:
    out = console()
    for entry in listed["entries"]:
        stream = entry["stream"].removeprefix("stream:")
        out.print(f"{entry['id']}  {stream} {entry['priority']}, set aside {words.ago(entry['set_aside_at'])}")
        out.print(f"  {one_line(entry['content'], 300)}", soft_wrap=True)
    note(f"{listed['total']:,} in all" if listed["total"] else "nothing was set aside")


@click.command()
@click.argument("task_ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every dead letter.")
@connection_options()
def redrive(task_ids: tuple[str, ...], everything: bool, connection: Connection, as_json: bool) -> int:
    """Queue dead letters again, their attempts counted anew.

    \b
      sophia redrive 019a…
      sophia redrive --all

    The exit status is 1 when any of the IDs did not go.
    """
    if bool(task_ids) is everything:
        raise click.UsageError("give the IDs of dead letters (`sophia dead` lists them), or --all")
    answer = connection.run(lambda api: _redrive_all(api) if everything else _redrive(api, task_ids))
    if as_json:
        print_json(answer)
    else:
        out = console()
        for task_id in answer["redriven"]:
            out.print(f"{task_id}  queued")
        for left in answer["not_redriven"]:
            note(f"{left['id']}  not queued: {clean(left['reason'])}")
        if everything:
            note(f"{len(answer['redriven']):,} queued again")
    return exit_codes.FAILED if answer["not_redriven"] else exit_codes.OK


async def _redrive(api: Api, task_ids: tuple[str, ...]) -> dict[str, Any]:
    answers = [await api.redrive(task_ids[at : at + MAX_REDRIVE]) for at in range(0, len(task_ids), MAX_REDRIVE)]
    return _joined(answers)


async def _redrive_all(api: Api) -> dict[str, Any]:
    """What dies again meanwhile is not driven round in circles: it ends with the first call that is not full."""
    answers = [await api.redrive(None)]
    while answers[-1]["more"] and len(answers[-1]["redriven"]) >= MAX_REDRIVE:
        answers.append(await api.redrive(None))
    return _joined(answers)


def _joined(answers: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "redriven": [task_id for answer in answers for task_id in answer["redriven"]],
        "not_redriven": [left for answer in answers for left in answer["not_redriven"]],
        "more": answers[-1]["more"],
    }
