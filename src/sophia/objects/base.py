"""The object store's contract: immutable values by the hash of their content. One suite in
``tests/conformance/test_objects.py``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sophia.nouns.objects import ObjectRef


class ObjectStore(Protocol):
    """Every method raises ``Unavailable`` when the store does not answer (the same call may be repeated) and
    ``StorageFull`` when it has no room."""

    async def put(self, body: bytes) -> ObjectRef:
        """Keep a value: durable when this returns, all of it or nothing. Repeating it on the same day changes nothing."""

    async def get(self, ref: ObjectRef) -> bytes:
        """The value, its hash verified. Raises ``ObjectMissing`` and ``ObjectDamaged``."""

    async def stored_before(self, before_ms: int, after: str, limit: int) -> list[str]:
        """Keys of objects whose day of storing had ended by then, ascending, those above ``after``, at most ``limit``."""

    async def delete(self, keys: Sequence[str]) -> None:
        """Forget objects for good; those that are not there are skipped."""

    async def close(self) -> None: ...
