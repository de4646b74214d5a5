"""``sophia doctor``."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from sophia.cli import environment, exit_codes
from sophia.cli.output import console, print_json
from sophia.settings.load import PROFILES

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@click.command()
@click.option("--config", "config_path", type=click.Path(path_type=Path))
@click.option("--data-dir", type=click.Path(path_type=Path))
@click.option("--profile", type=click.Choice(PROFILES))
@click.option("--port", type=click.IntRange(1, 65533), help="The port that `sophia up` would be given.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def doctor(
    config_path: Path | None, data_dir: Path | None, profile: str | None, port: int | None, as_json: bool
) -> int:
    """Check this machine, the configuration, and a platform that runs here. Exit status 1 when something fails."""
    from rich.text import Text

    from sophia.cli.doctor_checks import examine

    checks = asyncio.run(
        examine(config_path, data_dir, profile, port, environ=environment.environ(), here=environment.here())
    )
    failed = [check for check in checks if check.status == "fail"]
    if as_json:
        print_json({"ok": not failed, "checks": checks})
    else:
        out = console()
        for check in checks:
            line = Text(f"{check.status:<5}", style=_STYLES[check.status]).append(f"{check.name:<12} ", style="default")
            out.print(line.append(check.detail, style="not bold default"), soft_wrap=True)
            if check.mend:
                out.print(f"{'':<18}{check.mend}", style="dim", soft_wrap=True)
    return exit_codes.FAILED if failed else exit_codes.OK
