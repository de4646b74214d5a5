"""Click groups that import a command only when it is used, and that turn expected errors into one line and a status."""

from __future__ import annotations

import difflib
import errno
import importlib
import json
import os
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

import click

from sophia.cli import exit_codes
from sophia.nouns.errors import SophiaError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Entry(NamedTuple):
    """A command before it is imported: ``module:attribute``, and its line in the group's help."""

    where: str
    help: str


class LazyGroup(click.Group):
    """A group whose commands are listed in sections. Help is shown from the list alone; nothing is imported."""

    def __init__(self, *args: Any, sections: dict[str, dict[str, Entry]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sections = sections
        self.entries = {name: entry for section in sections.values() for name, entry in section.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self.entries.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.where.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{entry.where} is not a command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self.entries and not name.startswith("-"):
            close = difflib.get_close_matches(name, self.entries, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"`{ctx.command_path} --help` lists all"
            raise click.UsageError(f"no such command {name!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self.entries), default=0)
        for title, commands in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), entry.help) for name, entry in commands.items()])


class MainGroup(LazyGroup):
    """The program itself. Errors that can be expected end as ``error: …`` on stderr, never as a traceback."""

    def main(  # type: ignore[override]  # click overloads it for callers that want a value; this one always exits
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        given = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        try:
            result = super().main(args=given, prog_name=prog_name or "sophia", **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message())
            sys.exit(exit_codes.OK)
        except click.UsageError as error:
            path = error.ctx.command_path if error.ctx else "sophia"
            _fail(error.format_message(), f"`{path} --help` shows how it is used", "usage", given)
            sys.exit(exit_codes.USAGE)
        except click.ClickException as error:
            _fail(error.format_message(), None, "error", given)
            sys.exit(exit_codes.FAILED)
        except SophiaError as error:
            _fail_with(error, given)
            sys.exit(exit_codes.of_error(error))
        except BaseExceptionGroup as group:
            # Roles run in task groups; the first of our own errors is what went wrong.
            first = _first_of_ours(group)
            if first is None:
                raise
            _fail_with(first, given)
            sys.exit(exit_codes.of_error(first))
        except (KeyboardInterrupt, click.Abort):
            click.echo(err=True)
            sys.exit(exit_codes.INTERRUPTED)
        except BrokenPipeError:
            # The reader (`head`) has seen enough.
            _close_stdout()
            sys.exit(exit_codes.OK)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            _close_stdout()
            _fail(f"cannot write: {error.strerror}", "make room", "storage_full", ())
            sys.exit(exit_codes.FAILED)
        sys.exit(result if isinstance(result, int) else exit_codes.OK)


def _close_stdout() -> None:
    """Python would complain again when it flushes stdout at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _first_of_ours(group: BaseExceptionGroup[BaseException]) -> SophiaError | None:
    """One of our errors out of the group; ``None`` when anything else is in it, which must not be hidden."""
    ours, others = group.split(SophiaError)
    if ours is None or others is not None:
        return None
    first: BaseException = ours
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first if isinstance(first, SophiaError) else None


def _fail_with(error: SophiaError, args: Sequence[str]) -> None:
    _fail(error.message, error.mend, error.code, args, error.field)


def _fail(message: str, mend: str | None, code: str, args: Sequence[str], field: str | None = None) -> None:
    named = f"{field}: {message}" if field and field not in message else message
    click.echo(f"{click.style('error:', fg='red', bold=True)} {named}", err=True)
    if mend:
        click.echo(f"  {mend}", err=True)
    if "--json" in args:
        body = {"code": code, "message": message, "field": field, "mend": mend}
        click.echo(json.dumps({"error": body}, ensure_ascii=False))
