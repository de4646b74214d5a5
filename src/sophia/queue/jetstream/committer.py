"""Makes steps: many in one atomic write while nobody interferes, else each by itself."""

from __future__ import annotations

from collections.abc import Sequence

from sophia.queue.jetstream import names
from sophia.queue.jetstream.accounts import Book
from sophia.queue.jetstream.bus import Bus
from sophia.queue.jetstream.failures import Mismatch
from sophia.queue.jetstream.messages import Put
from sophia.queue.jetstream.record import Known, decode_record
from sophia.queue.jetstream.step import Step

ACCOUNT_TRIES = 20
TOGETHER_TRIES = 5
"""For steps of one tenant whose account somebody else changes meanwhile."""


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
        steps = [step.numbered() for step in steps]
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
        self._bus.discards.add(seq for step in steps for seq in step.stale)
        return [last - len(puts) + end for end in ends]

    async def each(self, steps: Sequence[Step]) -> list[int | None]:
        """Make every step that still can be made; ``None`` where its record has changed meanwhile."""
        made: dict[int, int | None] = {}
        together = TOGETHER_TRIES if any(step.spending for step in steps) else 1
        while len(left := [n for n in range(len(steps)) if n not in made]) > 1:
            try:
                made.update(zip(left, await self.all_or_none([steps[n] for n in left]), strict=True))
            except Mismatch:
                changed = await self._changed([steps[n] for n in left])
                if not any(changed) and (together := together - 1) == 0:
                    break
                made.update((n, None) for n, gone in zip(left, changed, strict=True) if gone)
        for n in left:
            made[n] = await self._one(steps[n])
        return [made[n] for n in range(len(steps))]

    async def _one(self, step: Step) -> int | None:
        """A tenant's account changes with every task of its own: only a changed record ends the attempts."""
        for _ in range(ACCOUNT_TRIES if step.spending else 1):
            try:
                return (await self.all_or_none([step]))[0]
            except Mismatch:
                (changed,) = await self._changed([step])
                if changed:
                    return None
        return None

    async def _changed(self, steps: Sequence[Step]) -> list[bool]:
        subjects = [names.record(step.after.task.id) for step in steps]
        current = await self._bus.newest(subjects)
        return [
            (current[subject].seq if subject in current else 0) != (step.before.revision if step.before else 0)
            for subject, step in zip(subjects, steps, strict=True)
        ]


def _without_repeats(puts: list[Put], ends: list[int]) -> tuple[list[Put], list[int]]:
    """Several tasks announce the same lane: once, after all of them, is enough."""
    last = {put.subject: number for number, put in enumerate(puts)}
    kept = [number for number, put in enumerate(puts) if last[put.subject] == number or put.expect is not None]
    position = {number: at for at, number in enumerate(kept, 1)}
    return [puts[number] for number in kept], [position[end - 1] for end in ends]
