"""Following one task to its end, over any number of connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import msgspec

from sophia.client.api import Api, pause_s
from sophia.client.errors import Refused, Unreachable
from sophia.nouns.event import FINAL_EVENT_KINDS
from sophia.nouns.task import TaskState

MAX_TRIES = 8
"""In a row without a single event: about 40 s."""
_TRY_AGAIN = frozenset({429, 500, 502, 503, 504})


class TaskEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as the API sends it, with what a reader of one task needs."""

    kind: str
    at: str
    seq: int
    data: dict[str, Any]


async def follow(
    api: Api, task_id: str, *, on_reconnect: Callable[[int, str], Awaitable[None]] | None = None
) -> AsyncGenerator[TaskEvent, None]:
    """Every event of the task from its first to its final one, each once and in order.

    A dropped connection is taken up again after the last event seen; ``on_reconnect`` gets the number of the try and
    the reason. Raises ``Unreachable`` after ``MAX_TRIES`` tries in a row that brought nothing. Ends without a final
    event when the platform has let the task's log go.
    """
    seen, tries = 0, 0
    while True:
        reason, brought = "the connection was closed", False
        asked_s: float | None = None
        try:
            async with aclosing(api.events(task_id, seen)) as stream:
                async for raw in stream:
                    event = _decoded(raw.data)
                    if event.seq <= seen:
                        continue
                    seen, tries, brought = event.seq, 0, True
                    yield event
                    if event.kind in FINAL_EVENT_KINDS:
                        return
        except Unreachable as error:
            reason = error.message
        except Refused as error:
            if error.status not in _TRY_AGAIN:
                raise
            reason, asked_s = error.message, error.retry_after_s
        else:
            if not brought and await _is_over(api, task_id):
                return
        tries += 1
        if tries > MAX_TRIES:
            raise Unreachable(
                f"lost the platform while following the task: {reason}",
                mend=f"the task itself goes on; look again with `sophia watch {task_id}`",
            )
        if on_reconnect is not None:
            await on_reconnect(tries, reason)
        await asyncio.sleep(pause_s(tries, asked_s))


async def _is_over(api: Api, task_id: str) -> bool:
    """Whether a stream that ended in order ended because there is nothing more to come."""
    try:
        task = await api.task(task_id)
    except Unreachable:
        return False
    except Refused as error:
        if error.status not in _TRY_AGAIN:
            raise
        return False
    return TaskState(task["state"]).is_final


def _decoded(data: bytes) -> TaskEvent:
    try:
        return msgspec.json.decode(data, type=TaskEvent)
    except msgspec.DecodeError as error:
        raise Unreachable(f"the platform sent an event that cannot be read: {error}") from error
