"""Objects in a folder or in an S3 bucket, through the ``obstore`` library, which does its I/O outside Python's threads.

Keys are ``YYYYMMDD/sha256``: by day of storing, so that sweeping looks at old days only and never races with a value
that is being stored again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from sophia.nouns.clock import Clock
from sophia.nouns.errors import ObjectDamaged, ObjectMissing
from sophia.nouns.objects import ObjectRef, day_of
from sophia.objects.faults import translated

if TYPE_CHECKING:
    from obstore.store import ObjectStore as Backend

BASE_TIMEOUT_S = 20.0
LEAST_BYTES_PER_S = 1_000_000
"""A transfer slower than this counts as one that does not answer."""
DELETE_TIMEOUT_S = 60.0
_LIST_CHUNK = 1_000


class Place(Protocol):
    """Where objects are, and what the library leaves to us there."""

    name: str
    """For errors; without secrets."""
    sorted_lists: bool

    def open(self) -> Backend:
        """Called once, in a thread; may create the folder."""

    def persist(self, key: str) -> None:
        """Bring a written object to disk. Blocks."""

    def clear(self, day: str) -> None:
        """Remove what is left of a day that has no objects any more. Blocks."""


class StoredObjects:
    """``objects.base.ObjectStore`` over a place. The library is loaded with the first call: most processes at rest
    need none of it."""

    def __init__(self, place: Place, clock: Clock) -> None:
        self._place = place
        self._clock = clock
        self._opening = asyncio.Lock()
        self._backend: Backend | None = None

    async def put(self, body: bytes) -> ObjectRef:
        digest = await asyncio.to_thread(_sha256, body)
        ref = ObjectRef(sha256=digest, bytes=len(body), day=day_of(self._clock.now_ms()))
        async with self._within(_transfer_s(len(body))) as backend:
            # In one request: what is broken off leaves no parts behind that cost money and no list shows.
            await backend.put_async(ref.key, body, use_multipart=False)
            await asyncio.to_thread(self._place.persist, ref.key)
        return ref

    async def get(self, ref: ObjectRef) -> bytes:
        try:
            async with self._within(_transfer_s(ref.bytes)) as backend:
                answer = await backend.get_async(ref.key)
                body = bytes(await answer.bytes_async())
        except FileNotFoundError as error:
            raise ObjectMissing(
                f"the object {ref.key} is not in {self._place.name}",
                mend="it was deleted by hand, or the object store was replaced; submit the task again",
            ) from error
        if len(body) != ref.bytes or await asyncio.to_thread(_sha256, body) != ref.sha256:
            raise ObjectDamaged(f"the object {ref.key} in {self._place.name} is not what was stored")
        return body

    async def stored_before(self, before_ms: int, after: str, limit: int) -> list[str]:
        keys: list[str] = []
        async with self._within(BASE_TIMEOUT_S) as backend:
            days = [path.rstrip("/") for path in (await backend.list_with_delimiter_async())["common_prefixes"]]
        for day in sorted(day for day in days if after.partition("/")[0] <= day < day_of(before_ms)):
            found = await self._keys_of(day, after, limit - len(keys))
            if not found and not after.startswith(day):
                with translated(self._place.name):
                    await asyncio.to_thread(self._place.clear, day)
            keys += found
            if len(keys) >= limit:
                break
        return keys

    async def _keys_of(self, day: str, after: str, limit: int) -> list[str]:
        keys: list[str] = []
        async with self._within(BASE_TIMEOUT_S) as backend:
            offset = after if after.startswith(f"{day}/") else None
            async for chunk in backend.list(f"{day}/", offset=offset, chunk_size=_LIST_CHUNK):
                keys += [entry["path"] for entry in chunk]
                if self._place.sorted_lists and len(keys) >= limit:
                    break
        return sorted(keys)[:limit]

    async def delete(self, keys: Sequence[str]) -> None:
        if not keys:
            return
        try:
            async with self._within(DELETE_TIMEOUT_S) as backend:
                await backend.delete_async(list(keys))
        except FileNotFoundError:
            # A folder stops at the first that is not there.
            for key in keys if len(keys) > 1 else ():
                await self.delete([key])

    async def close(self) -> None:
        self._backend = None

    @asynccontextmanager
    async def _within(self, seconds: float) -> AsyncIterator[Backend]:
        with translated(self._place.name):
            async with asyncio.timeout(seconds):
                async with self._opening:
                    if self._backend is None:
                        self._backend = await asyncio.to_thread(self._place.open)
                yield self._backend


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _transfer_s(size: int) -> float:
    return BASE_TIMEOUT_S + size / LEAST_BYTES_PER_S
