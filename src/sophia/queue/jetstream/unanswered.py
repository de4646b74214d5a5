"""Leases that were asked for and not answered: a worker takes up those that are its own after all."""

from __future__ import annotations

from collections.abc import Sequence

from sophia.nouns.task import TaskState
from sophia.queue.jetstream.bus import Bus
from sophia.queue.jetstream.committer import Committer
from sophia.queue.jetstream.record import Known
from sophia.queue.jetstream.step import Step


class Unanswered:
    """What a write without an answer was to begin. Costs a read only while there is any.

    The attempt's number and worker say that it is ours: only this process writes both. A write may still arrive after its
    connection was lost, so one whose record has not changed yet is asked about again for as long as a lease would last.
    """

    def __init__(self, bus: Bus, committer: Committer, keep_ms: int) -> None:
        self._bus = bus
        self._committer = committer
        self._keep_ms = keep_ms
        self._asked: dict[str, Step] = {}

    def __bool__(self) -> bool:
        return bool(self._asked)

    def ask(self, made: Sequence[Step]) -> None:
        """To be called before the write."""
        begun = (step for step in made if step.after.state is TaskState.RUNNING)
        for step in begun:
            self._asked.setdefault(step.after.task.id, step)

    def answer(self, made: Sequence[Step], revisions: Sequence[int | None], unsure: frozenset[str]) -> None:
        """After it. Of a task in ``unsure`` that somebody has changed meanwhile it is not known who."""
        for step, revision in zip(made, revisions, strict=True):
            task_id = step.after.task.id
            if revision is not None or task_id not in unsure:
                self._asked.pop(task_id, None)

    def unsure(self) -> frozenset[str]:
        return frozenset(self._asked)

    async def begun(self, worker: str, most: int, now_ms: int) -> list[Known]:
        """Up to ``most`` attempts of this worker that have begun; they are given once."""
        asked = {task_id: step for task_id, step in self._asked.items() if step.after.worker == worker}
        known = await self._committer.known(list(asked)) if asked else {}
        found: list[Known] = []
        for task_id, step in asked.items():
            now = known.get(task_id)
            if now is not None and now.record.held_by(worker, step.after.attempt):
                if len(found) == most:
                    continue
                found.append(now)
                self._bus.discards.add(step.stale)
            elif _unchanged(step, now) and now_ms < step.after.started_at_ms + self._keep_ms:
                continue
            del self._asked[task_id]
        return found


def _unchanged(step: Step, now: Known | None) -> bool:
    return now is not None and step.before is not None and now.revision == step.before.revision
