"""Finding one task for its tenant: in the queue, else in the ledger."""

from __future__ import annotations

from sophia.gateway.deps import Call
from sophia.nouns.errors import NotFound, Unavailable
from sophia.nouns.event import FINAL_EVENT_KINDS, Event
from sophia.nouns.ids import is_task_id
from sophia.nouns.task import TaskRecord

_RECHECK_S = 10.0
"""How long a long poll trusts the events before it looks for itself."""


async def find_task(call: Call) -> TaskRecord:
    """The task named in the path. Raises ``NotFound``, also for another tenant's task: its id tells nothing."""
    task_id = call.request.path_params["task_id"]
    record = await _record(call, task_id) if is_task_id(task_id) else None
    if record is None or record.task.tenant != call.tenant:
        raise NotFound(
            f"there is no task {task_id[:64]!r}", field="task_id", mend="an `id` from a submission or the list"
        )
    return record


async def _record(call: Call, task_id: str) -> TaskRecord | None:
    try:
        (record,) = await call.deps.queue.get([task_id])
    except Unavailable:
        # What is final in the ledger stays so, whatever happened to the queue.
        record = await call.deps.ledger.task(task_id)
        if record is not None and record.state.is_final:
            return record
        raise
    return record if record is not None else await call.deps.ledger.task(task_id)


async def wait_until_final(call: Call, wait_s: float) -> TaskRecord:
    """The task when it is final, or as it is after ``wait_s`` seconds."""
    clock = call.deps.clock
    until_s = clock.monotonic_s() + wait_s
    task_id = call.request.path_params["task_id"]

    def ends(event: Event) -> bool:
        return event.subject == task_id and event.kind in FINAL_EVENT_KINDS

    async with call.deps.hub.subscribe(ends) as subscription:
        while True:
            record = await find_task(call)
            left_s = until_s - clock.monotonic_s()
            if record.state.is_final or left_s <= 0 or call.context.closing.is_set():
                return record
            await subscription.next(min(left_s, _RECHECK_S))
            if subscription.loss is not None:
                subscription.resume(call.deps.hub.cursor)
