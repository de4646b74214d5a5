"""Deletes objects that no task needs any more."""

from __future__ import annotations

import logging

from sophia.nouns.clock import Clock
from sophia.objects.base import ObjectStore
from sophia.store.base import ObjectReferences

log = logging.getLogger(__name__)

KEEP_S = 86_400.0
"""An object without a task stays at least this long after the day of its storing: between storing it and recording its
task lie seconds, and the clocks of the machines that do either agree far better than this."""
BATCH = 500
SWEEP_EVERY_S = 21_600.0


class Sweeper:
    """One walk over the old objects after the other, a batch at a time.

    What the ledger's tasks refer to stays, so that objects live as long as the tasks that they belong to; the rest goes:
    of tasks that were pruned, or that were never submitted because the process died between the two. Safe only once the
    ledger has taken up the queue's changes.
    """

    def __init__(self, objects: ObjectStore, references: ObjectReferences, clock: Clock) -> None:
        self._objects = objects
        self._references = references
        self._clock = clock
        self._after = ""

    async def sweep_some(self) -> float:
        """One batch; gives the seconds until the next one is worth while."""
        before_ms = self._clock.now_ms() - round(KEEP_S * 1000)
        keys = await self._objects.stored_before(before_ms, self._after, BATCH)
        needed = await self._references.referenced(keys)
        gone = [key for key in keys if key not in needed]
        await self._objects.delete(gone)
        if gone:
            log.info("objects that no task needs are deleted", extra={"objects": len(gone)})
        self._after = keys[-1] if len(keys) == BATCH else ""
        return 1.0 if self._after else SWEEP_EVERY_S
