"""The entry point ``sophia``."""

from __future__ import annotations

import click

from sophia.cli.groups import Entry, MainGroup

SECTIONS = {
    "This machine": {
        "up": Entry("sophia.cli.up:up", "Start the whole platform in the foreground."),
        "doctor": Entry("sophia.cli.doctor:doctor", "Check this machine and a running platform."),
        "config": Entry("sophia.cli.config:config", "Write, check and show sophia.yaml."),
        "version": Entry("sophia.cli.version:version", "Show the version."),
    },
    "Tasks": {
        "submit": Entry("sophia.cli.submit:submit", "Submit a task of any type."),
        "watch": Entry("sophia.cli.tasks:watch", "Follow a task to its end."),
        "tasks": Entry("sophia.cli.tasks:tasks", "List tasks, newest first."),
        "task": Entry("sophia.cli.tasks:task", "Show one task with its attempts and result."),
        "explain": Entry("sophia.cli.tasks:explain", "Say why a task is where it is."),
        "dead": Entry("sophia.cli.dead:dead", "List dead letters: tasks that used up their attempts."),
        "redrive": Entry("sophia.cli.dead:redrive", "Queue dead letters again."),
        "cancel": Entry("sophia.cli.tasks:cancel", "Cancel a task."),
    },
    "Platform": {
        "queue": Entry("sophia.cli.platform:queue", "What waits and runs, by stream and priority."),
        "budgets": Entry("sophia.cli.budgets:budgets", "What is spent, reserved and left of your budgets."),
        "schedules": Entry("sophia.cli.schedules:schedules", "Tasks submitted again and again: next and last."),
        "pools": Entry("sophia.cli.pools:pools", "Pools, their instances and what they cost; orders to them."),
        "keys": Entry("sophia.cli.keys:keys", "Virtual keys: make, list, revoke."),
        "usage": Entry("sophia.cli.usage:usage", "What model calls and tasks used, and what they cost."),
        "simulate": Entry("sophia.cli.simulate:simulate", "Scaling policies over a trace: cost and waiting."),
        "fit": Entry("sophia.cli.fit:fit", "Whether a model fits a GPU, and what would fit instead."),
    },
    "Roles (`sophia up` starts them all; in production each runs by itself)": {
        "gateway": Entry("sophia.cli.roles:gateway", "The HTTP API and the page."),
        "websocket": Entry("sophia.cli.roles:websocket", "Live events for pages and programs."),
        "router": Entry("sophia.cli.roles:router", "Queue upkeep, ledger, pools; one leads, others stand by."),
        "worker": Entry("sophia.cli.roles:worker", "Runs the tasks of one pool."),
        "vllm": Entry("sophia.cli.roles:vllm", "Serves the models of a pool on a GPU host."),
        "host": Entry("sophia.cli.host:host", "What a GPU host does by itself: join, self-test, end."),
        "emulated-cloud": Entry("sophia.cli.roles:emulated_cloud", "A GPU cloud that is only emulated."),
        "model-server": Entry("sophia.cli.roles:model_server", "A small local model behind the OpenAI interface."),
    },
}


@click.group(
    "sophia",
    cls=MainGroup,
    sections=SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=True,
    subcommand_metavar="COMMAND [ARGS]...",
    epilog="`sophia COMMAND --help` tells more. Exit status: 0 succeeded, 1 failed, 2 bad input, 3 cancelled, 4 timed out, "
    "5 platform unreachable, 130 interrupted.",
)
@click.option("--url", help="Address of the platform, for the commands that talk to one.")
@click.option("--api-key", help="Its key.")
@click.version_option(package_name="sophia", message="%(prog)s %(version)s")
def main(url: str | None, api_key: str | None) -> None:
    """Sophia runs AI tasks: durable queue, real models, workers that come and go.

    \b
    Start it, then give it something to do:
      sophia up
      sophia submit long_planning "Move our blog to a new host" --watch
      sophia submit light "Write a haiku about queues" --watch
      sophia submit code_generation "Parse ISO dates" --language python --wait
      sophia submit batch_embedding --file texts.txt --json > vectors.json
      sophia submit web_research "What changed?" --url https://example.com --watch
    """


if __name__ == "__main__":
    main()
