"""``sophia config``: write, check and show the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sophia.cli import environment
from sophia.cli.groups import Entry, LazyGroup
from sophia.cli.output import console, note, print_json
from sophia.nouns.errors import ConfigError
from sophia.settings.load import CONFIG_NAME, PROFILES

_HERE = "sophia.cli.config"
_PATH = click.Path(path_type=Path)

TEMPLATE = """\
# Sophia's settings. Everything that is not here has its packaged value: `sophia config show` prints them all,
# `sophia config check` says what is wrong. Secrets never stand here: refer to variables as {env: NAME}.

# local: everything on this machine. hosted: Redis, Postgres, GPU and edge machines elsewhere.
profile: local

# Hosted models need no line here: set PORTKEY_API_KEY, or OPENAI_API_KEY (and OPENAI_BASE_URL for another server).
# A server of your own, in front of all others for the tier `fast`:
# providers:
#   mine:
#     kind: openai
#     base_url: http://127.0.0.1:11434/v1
# models:
#   llama3.2:
#     kind: chat
#     providers: {mine: "llama3.2:3b"}
#     tiers: [fast]

# More workers, and for longer:
# pools:
#   cpu-workers: {max: 4, idle_timeout_s: 300}

# An existing Redis and Postgres instead of the embedded ones:
# redis:
#   url: {env: REDIS_URL}
# ledger:
#   url: {env: DATABASE_URL}
"""


@click.group(
    cls=LazyGroup,
    sections={
        "Commands": {
            "init": Entry(f"{_HERE}:init", "Write a commented sophia.yaml."),
            "check": Entry(f"{_HERE}:check", "Say whether the configuration is right, or what is wrong."),
            "show": Entry(f"{_HERE}:show", "Print the configuration in effect."),
            "schema": Entry(f"{_HERE}:schema", "Print the JSON Schema of sophia.yaml."),
        }
    },
)
def config() -> None:
    """Write, check and show sophia.yaml.

    Later wins: the packaged hosted profile, for the local profile its overrides, your file, the environment. The file
    is --config, else SOPHIA_CONFIG, else sophia.yaml in this folder.
    """


@click.command()
@click.argument("path", type=_PATH, default=Path(CONFIG_NAME))
def init(path: Path) -> None:
    """Write a commented sophia.yaml to PATH. An existing file is never overwritten."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE)
    except FileExistsError as error:
        raise ConfigError(f"{path} is there already", mend="remove it first, or name another path") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
    click.echo(f"wrote {path}")


@click.command()
@click.option("--config", "config_path", type=_PATH)
@click.option("--profile", type=click.Choice(PROFILES))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def check(config_path: Path | None, profile: str | None, as_json: bool) -> None:
    """Check the file and the variables that it refers to. Exit status 2 when something is wrong."""
    from sophia.settings.advice import unserved
    from sophia.settings.load import load

    loaded = load(config_path, None, environment.environ(), profile)
    warnings = unserved(loaded)
    source = str(loaded.config_path) if loaded.config_path else f"no {CONFIG_NAME}, packaged values"
    if as_json:
        print_json({"ok": True, "profile": loaded.settings.profile, "config": source, "warnings": warnings})
        return
    for warning in warnings:
        note(f"warning: {warning}")
    click.echo(f"ok: profile {loaded.settings.profile} ({source})")


@click.command()
@click.option("--config", "config_path", type=_PATH)
@click.option("--profile", type=click.Choice(PROFILES))
@click.option("--json", "as_json", is_flag=True, help="As JSON instead of YAML.")
@click.option("--section", help="Only this part, such as pools.inference.")
def show(config_path: Path | None, profile: str | None, as_json: bool, section: str | None) -> None:
    """Print the configuration in effect: packaged values and your file, merged. Secrets stay references."""
    import msgspec
    import yaml

    from sophia.settings.load import find_config, merged_settings

    environ = environment.environ()
    values: Any = msgspec.to_builtins(merged_settings(find_config(config_path, environ), environ, profile))
    if section is not None:
        values = _part(values, section)
    if as_json:
        print_json(values)
    else:
        console().print(yaml.safe_dump(values, sort_keys=False, allow_unicode=True).rstrip(), soft_wrap=True)


def _part(values: Any, section: str) -> Any:
    from sophia.settings.shape import nearest

    for key in section.split("."):
        if not isinstance(values, dict) or key not in values:
            known = values if isinstance(values, dict) else ()
            raise ConfigError(f"there is no {section}", field=section, mend=nearest(key, known))
        values = values[key]
    return values


@click.command()
@click.option("--merged", is_flag=True, help="Of the merged configuration, in which everything is required.")
def schema(merged: bool) -> None:
    """Print the JSON Schema of sophia.yaml, for editors and other checkers."""
    from sophia.settings.schema import json_schema

    print_json(json_schema(partial=not merged))
