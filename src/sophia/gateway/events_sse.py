"""One task's events over server-sent events: its log from a position, then live, without a gap or a repetition."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence

import msgspec
from starlette.responses import Response

from sophia.events.hub import Subscription
from sophia.events.view import event_view
from sophia.gateway.deps import Call
from sophia.gateway.lookup import find_task
from sophia.gateway.streaming import EventStream
from sophia.nouns.errors import InvalidInput, SophiaError
from sophia.nouns.event import FINAL_EVENT_KINDS, Event, EventKind
from sophia.nouns.task import TaskRecord

log = logging.getLogger(__name__)

HEARTBEAT_S = 15.0
RECONNECT_MS = 1000
_encode = msgspec.json.Encoder().encode


async def task_events(call: Call) -> Response:
    after = _after(call)
    record = await find_task(call)
    if record.state.is_final and after > 0:
        later = await call.deps.events.task_log(record.task.id, after)
        if not later:
            # Nothing will come any more; 204 tells a browser's EventSource not to ask again.
            return Response(status_code=204)
    return EventStream(_follow(call, record, after))


def _after(call: Call) -> int:
    name = "after" if call.request.query_params.get("after") else "Last-Event-ID"
    value = call.request.query_params.get("after") or call.request.headers.get("last-event-id") or "0"
    if not value.isdecimal() or len(value) > 18:
        raise InvalidInput(
            f"{value[:64]!r} is not a position", field=name, mend="the `id` of an event of this task, or 0"
        )
    return int(value)


async def _follow(call: Call, record: TaskRecord, after: int) -> AsyncGenerator[bytes]:
    task_id = record.task.id
    yield f"retry: {RECONNECT_MS}\n\n".encode()
    try:
        async with call.deps.hub.subscribe(lambda event: event.subject == task_id) as subscription:
            last = after
            missed: Sequence[Event] = await call.deps.events.task_log(task_id, last)
            if not missed and record.state.is_final:
                yield _message(_ending(record, last))
                return
            while True:
                for event in missed:
                    yield _message(event)
                    last = max(last, event.seq)
                # A dead task may have been redriven: only a final event with nothing after it is the end.
                if missed and missed[-1].kind in FINAL_EVENT_KINDS:
                    return
                missed = await _next(call, subscription, task_id, last)
                if call.context.closing.is_set():
                    return
                if not missed:
                    yield b": still here\n\n"
    except SophiaError as error:
        log.warning("events of task %s broke off: %s", task_id, error.message)
        yield f": interrupted, ask again: {error.code}\n\n".encode()


async def _next(call: Call, subscription: Subscription, task_id: str, last: int) -> Sequence[Event]:
    """The events after ``last`` that have come; none after a heartbeat's time without any."""
    while True:
        delivery = await subscription.next(HEARTBEAT_S)
        if subscription.loss is not None:
            subscription.resume(call.deps.hub.cursor)
            return await call.deps.events.task_log(task_id, last)
        if delivery is None:
            return ()
        event = delivery.event
        if event.seq <= last:
            continue
        if event.seq == last + 1:
            return (event,)
        return await call.deps.events.task_log(task_id, last) or (event,)


def _ending(record: TaskRecord, last: int) -> Event:
    """The final state of a task whose log was let go, as the event it ended with."""
    data = {} if record.error is None else {"error": msgspec.to_builtins(record.error)}
    return Event(
        kind=EventKind(f"task.{record.state.value}"),
        at_ms=record.finished_at_ms or record.updated_at_ms,
        subject=record.task.id,
        seq=last + 1,
        data=data,
    )


def _message(event: Event) -> bytes:
    body = _encode(event_view(event, cursor=str(event.seq)))
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.seq, event.kind.value.encode(), body)
