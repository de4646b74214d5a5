"""``sophia submit``."""

from __future__ import annotations

import uuid
from typing import Any

import click

from sophia.cli import exit_codes, words
from sophia.cli.connection import Connection, connection_options
from sophia.cli.output import console, note, print_json
from sophia.cli.payload import TypeName, build_payload
from sophia.cli.values import Duration, Moment, Pair
from sophia.nouns.task import Durability, Tier

PRIORITIES = ("critical", "high", "normal", "low")


@click.command()
@click.argument("task_type", metavar="TYPE", type=TypeName())
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
@click.option("--file", "-f", help="Take the text from a file; for batch_embedding one text a line.")
@click.option("--url", "urls", multiple=True, help="web_research: a page to read. Repeatable.")
@click.option("--search-url", help="web_research: a JSON search API; may contain {query}.")
@click.option("--language", help="code_generation: the programming language.")
@click.option("--model", help="A model by name, instead of the tier's.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Longest answer, in tokens.")
@click.option("--payload", metavar="JSON|@FILE", help="The payload itself; text and options are set over it.")
@click.option(
    "--set", "settings", metavar="KEY=VALUE", multiple=True, type=Pair(), help="Any payload field. Repeatable."
)
@click.option("--tier", type=click.Choice([t.value for t in Tier]), help="Which class of model.  [default: fast]")
@click.option("--priority", "-p", type=click.Choice(PRIORITIES), help="[default: normal]")
@click.option("--max-usd", type=click.FloatRange(min=0), help="Most that it may cost, in USD.")
@click.option("--deadline", type=Moment(), help="Fail unless it has started by then: 10m, or a time.")
@click.option("--start-at", type=Moment(), help="Not before then: 10m, or a time.")
@click.option("--timeout", "timeout_s", type=Duration(), help="Longest run of one attempt: 90s, 5m.")
@click.option("--max-attempts", type=click.IntRange(min=1, max=100), help="Attempts before it is given up.")
@click.option(
    "--durability", type=click.Choice([d.value for d in Durability]), help="What it survives.  [default: queue]"
)
@click.option("--idempotency-key", help="The same key and task give the same task again.")
@click.option("--label", "labels", metavar="KEY=VALUE", multiple=True, type=Pair(), help="Repeatable.")
@click.option("--watch", "-w", "follow_it", is_flag=True, help="Follow it, then show the result.")
@click.option("--wait", is_flag=True, help="Wait quietly, then show the result.")
@connection_options("--platform-url")
def submit(
    task_type: str,
    texts: tuple[str, ...],
    file: str | None,
    urls: tuple[str, ...],
    search_url: str | None,
    language: str | None,
    model: str | None,
    max_tokens: int | None,
    payload: str | None,
    settings: tuple[tuple[str, str], ...],
    idempotency_key: str | None,
    follow_it: bool,
    wait: bool,
    connection: Connection,
    as_json: bool,
    **envelope: Any,
) -> int:
    """Submit a task of TYPE: long_planning, code_generation, batch_embedding, web_research or light.

    TEXT is the goal, prompt or question; - reads it from stdin.

    \b
      sophia submit light "Why is the sky blue?" --watch
      sophia submit long_planning "Open a bakery" --tier quality --max-usd 0.50 --wait
      sophia submit code_generation "FizzBuzz" --language go --watch
      sophia submit batch_embedding "first text" "second text" --wait
      cat texts.txt | sophia submit batch_embedding - --json --wait > vectors.json
      sophia submit web_research "What is new?" --url https://example.com --watch
      sophia submit light --payload @prompt.json --set temperature=0 --wait
    """
    fields = {
        "urls": list(urls) or None,
        "search": {"url": search_url} if search_url else None,
        "language": language,
        "model": model,
        "max_tokens": max_tokens,
    }
    built = build_payload(task_type, texts, file=file, payload=payload, settings=settings, fields=fields)
    body = _body(task_type, built, envelope)
    # With a key of its own a submission can be repeated after a lost answer without running twice.
    key = idempotency_key or f"cli-{uuid.uuid4()}"
    accepted = connection.run(lambda api: api.submit(body, key))
    if not (follow_it or wait):
        _show_accepted(accepted, as_json)
        return exit_codes.OK
    return finish(connection, accepted["id"], watch=follow_it, as_json=as_json)


def finish(connection: Connection, task_id: str, *, watch: bool, as_json: bool) -> int:
    """See a task to its end; interrupting this does not interrupt the task, and says so."""
    from sophia.cli.watching import show_end, watch_task

    try:
        if watch and not as_json:
            return connection.run(lambda api: watch_task(api, task_id))
        task = connection.run(lambda api: api.wait(task_id))
    except KeyboardInterrupt:
        note(f"\nthe task goes on: `sophia watch {task_id}` follows it, `sophia cancel {task_id}` stops it")
        raise
    if as_json:
        print_json(task)
    else:
        show_end(task)
    return exit_codes.of_task(task)


def _body(task_type: str, payload: dict[str, Any], envelope: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {"type": task_type, "payload": payload}
    names = {"tier": "tier", "priority": "priority", "deadline": "deadline_at", "start_at": "run_at"}
    names |= {"timeout_s": "timeout_s", "max_attempts": "max_attempts", "durability": "durability"}
    body |= {wire: envelope[name] for name, wire in names.items() if envelope[name] is not None}
    if envelope["max_usd"] is not None:
        body["budget"] = {"max_usd": envelope["max_usd"]}
    if envelope["labels"]:
        body["labels"] = dict(envelope["labels"])
    return body


def _show_accepted(accepted: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(accepted)
        return
    out = console()
    known = " (known already, by its idempotency key)" if accepted["duplicate"] else ""
    out.print(f"{accepted['id']}  {accepted['state']}{known}", style="bold")
    out.print(words.route(accepted["route"]), soft_wrap=True)
    note(f"`sophia watch {accepted['id']}` follows it")
