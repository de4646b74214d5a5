"""Makes steps: many in one atomic write while nobody interferes, else each by itself."""

from __future__ import annotations

from collections.abc import Sequence

from sophia.queue.jetstream import names
from sophia.queue.jetstream.accounts import Book
from sophia.queue.jetstream.bus import Bus
from sophia.queue.jetstream.failures import Mismatch
from sophia.queue.jetstream.messages import Put
from sophia.queue.jetstream.record import Known, decode_record
from sophia.queue.jetstream.steps import Spending, Step

ACCOUNT_TRIES = 20


class Committer:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def known(self, task_ids: Sequence[str]) -> dict[str, Known]:
        """Records by task id, of those that exist."""
        stored = await self._bus.newest([names.record(task_id) for task_id in task_ids])
        found = (decode_record(message) for message in stored.values())
        return {known.record.task.id: known for known in found}

    async def all_or_none(
        self, steps: Sequence[Step], *, guards: Sequence[Put] = (), book: Book | None = None
    ) -> list[int]:
        """Make all steps; gives the revisions of their records. ``book`` must be what the steps were decided on.

        Raises ``Mismatch`` when any record, guard or account has changed: then nothing was written.
        """
        spendings = [step.spending for step in steps if step.spending is not None]
        if spendings and book is None:
            book = await Book.read(self._bus, {spending.tenant for spending in spendings})
        puts = [*guards, *(book.puts(spendings) if book is not None else ())]
        ends: list[int] = []
        for step in steps:
            puts += step.messages()
            ends.append(len(puts))
        puts, ends = _without_repeats(puts, ends)
        last = await self._bus.write(puts)
        await self._bus.delete([seq for step in steps for seq in step.stale])
        return [last - len(puts) + end for end in ends]

    async def each(self, steps: Sequence[Step]) -> list[int | None]:
        """Make every step that still can be made; ``None`` where its record has changed meanwhile."""
        if not steps:
            return []
        try:
            return list(await self.all_or_none(steps))
        except Mismatch:
            if len(steps) == 1 and steps[0].spending is None:
                return [None]
        return [await self._one(step) for step in steps]

    async def _one(self, step: Step) -> int | None:
        """A tenant's account changes with every task of its own: only a changed record ends the attempts."""
        for _ in range(ACCOUNT_TRIES if step.spending else 1):
            try:
                return (await self.all_or_none([step]))[0]
            except Mismatch:
                if not await self._is_current(step):
                    return None
        return None

    async def _is_current(self, step: Step) -> bool:
        current = await self._bus.last(names.record(step.after.task.id))
        revision = 0 if step.before is None else step.before.revision
        return (0 if current is None else current.seq) == revision


def _without_repeats(puts: list[Put], ends: list[int]) -> tuple[list[Put], list[int]]:
    """Several tasks announce the same lane: once, after all of them, is enough."""
    last = {put.subject: number for number, put in enumerate(puts)}
    kept = [number for number, put in enumerate(puts) if last[put.subject] == number or put.expect is not None]
    position = {number: at for at, number in enumerate(kept, 1)}
    return [puts[number] for number in kept], [position[end - 1] for end in ends]


def spendings_of(steps: Sequence[Step]) -> list[Spending]:
    return [step.spending for step in steps if step.spending is not None]
