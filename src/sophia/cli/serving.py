"""Running a long-lived role until a signal says stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable

from sophia.cli import exit_codes
from sophia.cli.output import note

Work = Callable[[asyncio.Event], Awaitable[None]]


def serve(work: Work) -> int:
    """Run ``work`` with a stop event. The first SIGINT or SIGTERM sets it, the second cancels the work, the third
    ends the process where it stands. Gives the exit status."""
    if sys.platform == "win32":
        loop_factory = None
    else:
        import uvloop

        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(_until_signalled(work))


async def _until_signalled(work: Work) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    task = asyncio.ensure_future(work(stop))
    asked = 0

    def on_signal() -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            stop.set()
        elif asked == 2:
            note("stopping without waiting; once more ends everything at once")
            task.cancel()
        else:
            os._exit(exit_codes.INTERRUPTED)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    try:
        await task
    except asyncio.CancelledError:
        if asked < 2:
            raise
        return exit_codes.INTERRUPTED
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    return exit_codes.OK
