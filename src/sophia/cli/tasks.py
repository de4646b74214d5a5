"""Commands about tasks that exist: list, show, follow, explain, cancel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click

from sophia.cli import exit_codes, words
from sophia.cli.connection import Connection, connection_options
from sophia.cli.output import clean, console, fitting, note, one_line, print_json
from sophia.cli.submit import finish
from sophia.nouns.task import TaskState, TaskType

if TYPE_CHECKING:
    from rich.console import Console

    from sophia.client.api import Api

PAGE = 200
WHAT_WIDTH = 22
"""At least so much of a line is for what a task is about."""


@click.command()
@click.option("--state", "states", multiple=True, type=click.Choice([s.value for s in TaskState]), help="Repeatable.")
@click.option("--type", "types", multiple=True, type=click.Choice([t.value for t in TaskType]), help="Repeatable.")
@click.option("--limit", "-n", type=click.IntRange(min=1, max=10_000), default=20, show_default=True)
@connection_options()
def tasks(states: tuple[str, ...], types: tuple[str, ...], limit: int, connection: Connection, as_json: bool) -> None:
    """List tasks, newest first.

    \b
      sophia tasks --state running --state queued
      sophia tasks --type batch_embedding -n 100 --json
    """
    listed = connection.run(lambda api: _pages(api, states, types, limit))
    if as_json:
        print_json(listed)
        return
    if not listed["tasks"]:
        note(
            "no tasks" + (" of that kind" if states or types else " yet; `sophia submit --help` shows how to start one")
        )
        return
    _table(console(), listed["tasks"])
    if listed["next_cursor"]:
        note(f"there are more; --limit shows more than {limit}")


async def _pages(api: Api, states: tuple[str, ...], types: tuple[str, ...], limit: int) -> dict[str, Any]:
    listed: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page = await api.tasks(states, types, min(PAGE, limit - len(listed)), cursor)
        listed += page["tasks"]
        cursor = page["next_cursor"]
        if cursor is None or not page["tasks"] or len(listed) >= limit:
            return {"tasks": listed, "next_cursor": cursor}


def _table(out: Console, listed: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    columns = {
        "ID": [row["id"] for row in listed],
        "STATE": [row["state"] for row in listed],
        "TYPE": [row["type"] for row in listed],
        "STREAM": [row["route"]["stream"].removeprefix("stream:") for row in listed],
        "PRIORITY": [row["priority"] for row in listed],
        "COST": [words.money(row["usage"]["cost_usd"]) for row in listed],
        "SUBMITTED": [words.ago(row["submitted_at"]) for row in listed],
    }
    shown = fitting(columns, ("ID", "STATE", "SUBMITTED", "TYPE", "COST", "PRIORITY", "STREAM"), out.width - WHAT_WIDTH)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in shown:
        side: Literal["left", "right"] = "right" if name in ("COST", "SUBMITTED") else "left"
        table.add_column(name, justify=side, no_wrap=True, min_width=max(map(len, (name, *columns[name]))))
    table.add_column("WHAT", no_wrap=True, overflow="ellipsis", ratio=1)
    for number, row in enumerate(listed):
        cells = [Text(columns[name][number]) for name in shown]
        cells[shown.index("STATE")].stylize(words.STATE_STYLES.get(row["state"], ""))
        table.add_row(*cells, one_line(row["title"], 80))
    out.print(table)


@click.command()
@click.argument("task_id", metavar="ID")
@connection_options()
def task(task_id: str, connection: Connection, as_json: bool) -> None:
    """Show one task with its attempts and its result."""
    shown = connection.run(lambda api: api.task(task_id))
    if as_json:
        print_json(shown)
    else:
        _show(console(), shown)


def _show(out: Console, shown: dict[str, Any]) -> None:
    from rich.text import Text

    from sophia.cli.watching import show_end

    head = Text(f"{shown['id']}  ", style="bold")
    head.append(shown["state"], style=words.STATE_STYLES.get(shown["state"], ""))
    if shown["cancel_requested"] and not TaskState(shown["state"]).is_final:
        head.append("  (cancellation asked for)", style="magenta")
    out.print(head)
    rows = [
        ("type", f"{shown['type']} · tier {shown['tier']} · priority {shown['priority']}"),
        ("what", one_line(shown["title"], 200)),
        ("route", words.route(shown["route"])),
        ("submitted", f"{shown['submitted_at']} ({words.ago(shown['submitted_at'])})"),
    ]
    rows += [(name, f"{shown[key]} ({words.ago(shown[key])})") for name, key in _MOMENTS if shown[key]]
    if shown["labels"]:
        rows.append(("labels", " ".join(f"{key}={value}" for key, value in shown["labels"].items())))
    for name, value in rows:
        out.print(f"  {name:<10} {clean(value)}", soft_wrap=True)
    for attempt in shown["attempts"]:
        out.print(f"  {'attempt ' + str(attempt['number']):<10} {_attempt(attempt)}", soft_wrap=True)
    if TaskState(shown["state"]).is_final:
        show_end(shown)


_MOMENTS = (("due", "due_at"), ("deadline", "deadline_at"), ("finished", "finished_at"))


def _attempt(attempt: dict[str, Any]) -> str:
    text = f"{attempt['outcome']} on {attempt['pool'] or '?'}/{attempt['worker']}, {words.ago(attempt['started_at'])}"
    if attempt["ended_at"]:
        text += f" · {words.usage(attempt['usage'])}"
    return text + (f" · {clean(words.error(attempt['error']))}" if attempt["error"] else "")


@click.command()
@click.argument("task_id", metavar="ID")
@connection_options()
def watch(task_id: str, connection: Connection, as_json: bool) -> int:
    """Follow a task to its end: state changes, text as it is written, cost, result.

    A dropped connection is taken up again where it broke. With --json: wait, then print the task. The exit status
    says how the task ended.
    """
    return finish(connection, task_id, watch=True, as_json=as_json)


@click.command()
@click.argument("task_id", metavar="ID")
@connection_options()
def explain(task_id: str, connection: Connection, as_json: bool) -> None:
    """Say why a task is where it is, and what would change it."""
    told = connection.run(lambda api: api.explain(task_id))
    if as_json:
        print_json(told)
        return
    out = console()
    out.print(f"{told['id']}  {told['state']}", style="bold")
    out.print(clean(told["summary"]), soft_wrap=True)
    out.print(f"  route      {clean(words.route(told['route']))}", soft_wrap=True)
    if told["expected_start_at"]:
        out.print(
            f"  starts     {words.ago(told['expected_start_at'])} (expected: {clean(told['basis'])})", soft_wrap=True
        )
    elif told["state"] == TaskState.QUEUED:
        out.print(f"  starts     {clean(told['basis'])}", soft_wrap=True)
    for hint in told["would_help"]:
        out.print(f"  would help {clean(hint)}", soft_wrap=True)


@click.command()
@click.argument("task_id", metavar="ID")
@click.option("--reason", help="Kept with the task.")
@connection_options()
def cancel(task_id: str, reason: str | None, connection: Connection, as_json: bool) -> int:
    """Cancel a task: at once when it waits, as soon as its worker hears of it when it runs.

    A task that has ended stays as it is; the exit status is then 1.
    """
    after = connection.run(lambda api: api.cancel(task_id, reason))
    final = TaskState(after["state"]).is_final and after["state"] != TaskState.CANCELLED
    if as_json:
        print_json(after)
    elif final:
        note(f"{after['id']} has ended already: {after['state']}")
    elif after["state"] == TaskState.CANCELLED:
        console().print(f"{after['id']}  cancelled")
    else:
        console().print(f"{after['id']}  {after['state']}; its worker has been asked to stop")
    return exit_codes.FAILED if final else exit_codes.OK
