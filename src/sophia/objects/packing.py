"""Large payloads and results go to the object store, and a reference in their place."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from sophia.nouns.errors import Unavailable
from sophia.nouns.objects import ObjectRef, as_value, reference_in
from sophia.nouns.task import Task
from sophia.nouns.title import title_of
from sophia.objects.base import ObjectStore

AT_ONCE = 8
"""Values of one call that are stored at the same time."""

_encode = msgspec.json.Encoder()
# Equal payloads become equal objects, whatever the order in which their keys were written.
_sorted = msgspec.json.Encoder(order="sorted")


class Packing:
    """Values over ``inline_max_bytes`` of JSON are stored; the others stay where they are. Raises what the store does."""

    def __init__(self, store: ObjectStore | None, inline_max_bytes: int) -> None:
        self._store = store
        self._inline_max_bytes = inline_max_bytes

    async def tasks(self, tasks: Sequence[Task]) -> list[Task]:
        """The tasks with references in place of large payloads."""
        large = {task.id for task in tasks if self._is_large(_encode.encode(task.payload))}
        if not large:
            return list(tasks)
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(task: Task) -> Task:
            if task.id not in large:
                return task
            async with gate:
                ref = await self._need().put(_sorted.encode(task.payload))
            shown = msgspec.structs.replace(ref, title=title_of(task))
            return msgspec.structs.replace(task, payload=as_value(shown))

        return await asyncio.gather(*(one(task) for task in tasks))

    async def result(self, result: Any) -> Any:
        """What to record in a result's place: a reference, or the result as JSON (encoded once only)."""
        body = _encode.encode(result)
        if not self._is_large(body):
            return msgspec.Raw(body)
        return as_value(await self._need().put(body))

    async def loaded(self, value: Any) -> Any:
        """The value that a reference stands for, as JSON ready to be sent on; anything else as it is."""
        ref = reference_in(value)
        return value if ref is None else msgspec.Raw(await self._fetch(ref))

    async def unpacked(self, task: Task) -> Task:
        """The task with its payload."""
        ref = reference_in(task.payload)
        if ref is None:
            return task
        return msgspec.structs.replace(task, payload=msgspec.json.decode(await self._fetch(ref)))

    async def keep(self, body: bytes) -> ObjectRef:
        """Store a value for good, however small."""
        return await self._need().put(body)

    async def fetch(self, ref: ObjectRef) -> bytes:
        """What was kept."""
        return await self._fetch(ref)

    def _is_large(self, body: bytes) -> bool:
        return self._store is not None and len(body) > self._inline_max_bytes

    async def _fetch(self, ref: ObjectRef) -> bytes:
        return await self._need().get(ref)

    def _need(self) -> ObjectStore:
        if self._store is None:
            raise Unavailable("this process was given no object store")
        return self._store


INLINE = Packing(None, 0)
"""Without an object store: nothing is packed, and what is packed cannot be read."""
