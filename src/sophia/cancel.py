"""Ending tasks for certain."""

from __future__ import annotations

import asyncio
from typing import Any

REPEAT_S = 0.25


async def cancel_all(*tasks: asyncio.Task[Any]) -> list[Any]:
    """Cancel tasks and wait until all have ended; their results and errors, as ``gather`` gives them.

    Asked again and again: Python 3.11's ``asyncio.wait_for``, which redis-py sends commands with, swallows a
    cancellation that arrives in the same moment as what it waits for.
    """
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=REPEAT_S)
    return await asyncio.gather(*tasks, return_exceptions=True)
