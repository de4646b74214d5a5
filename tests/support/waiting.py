"""Waiting for conditions instead of sleeping."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any


async def eventually(condition: Callable[[], Any | Awaitable[Any]], timeout_s: float = 5.0) -> Any:
    """Give the first true value of ``condition``; fail after ``timeout_s`` with the last value seen."""
    loop = asyncio.get_running_loop()
    until = loop.time() + timeout_s
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if loop.time() > until:
            raise AssertionError(f"still {value!r} after {timeout_s:g} s")
        await asyncio.sleep(0.02)


async def turns_of_the_loop(count: int) -> None:
    """Let every task that is ready run, ``count`` times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def settle_for(seconds: float) -> None:
    """Let real time pass where the passing of time is the point (ageing, expiry), not a guess at when work is done."""
    await asyncio.sleep(seconds)
