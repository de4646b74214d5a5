"""Options and plumbing of the commands that talk to a running platform."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sophia.cancel import cancel_all
from sophia.cli import environment

if TYPE_CHECKING:
    from sophia.client.api import Api

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any])


class Connection:
    """How to reach the platform; resolved only when it is used, so that ``--help`` needs none."""

    def __init__(self, url: str | None, api_key: str | None, data_dir: Path | None) -> None:
        self._url, self._api_key, self._data_dir = url, api_key, data_dir

    def run(self, work: Callable[[Api], Awaitable[T]]) -> T:
        from sophia.client.address import find_address
        from sophia.client.api import Api

        address = find_address(
            self._url, self._api_key, environment.environ(), environment.here(), data_dir=self._data_dir
        )

        async def session() -> T:
            async with Api(address) as api:
                return await work(api)

        return asyncio.run(_interruptible(session()))


async def _interruptible(work: Coroutine[None, None, T]) -> T:
    """Ctrl-C ends ``work`` for certain: asyncio's own handler cancels once, which a library may swallow."""
    task = asyncio.create_task(work)
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, interrupted.set)
    try:
        waiting = asyncio.create_task(interrupted.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await cancel_all(task, waiting)
            raise KeyboardInterrupt
        await cancel_all(waiting)
        return task.result()
    finally:
        loop.remove_signal_handler(signal.SIGINT)


def connection_options(url_option: str = "--url") -> Callable[[Command], Command]:
    """``--url``, ``--api-key``, ``--data-dir`` and ``--json``; the command gets ``connection`` and ``as_json``.

    ``sophia --url … --api-key …`` before the command means the same; there ``--url`` is never anything else.
    """

    def bind(ctx: click.Context, _param: click.Parameter, value: bool) -> bool:
        before = ctx.find_root().params
        ctx.params["connection"] = Connection(
            ctx.params.pop("platform_url", None) or before.get("url"),
            ctx.params.pop("api_key", None) or before.get("api_key"),
            ctx.params.pop("data_dir", None),
        )
        return value

    def decorate(command: Command) -> Command:
        for option in (
            click.option(
                "--json", "as_json", is_flag=True, callback=bind, help="Print one JSON document, nothing else."
            ),
            click.option(
                "--data-dir", is_eager=True, type=click.Path(path_type=Path), help="Folder with the client.json to use."
            ),
            click.option("--api-key", is_eager=True, help="[default: SOPHIA_API_KEY, else client.json]"),
            click.option(
                url_option,
                "platform_url",
                metavar="URL",
                is_eager=True,
                help="Address of the platform.  [default: SOPHIA_URL, else .sophia/client.json here or above]",
            ),
        ):
            command = option(command)
        return command

    return decorate
