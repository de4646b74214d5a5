"""Subjects of the one stream that holds a platform's tasks.

Every subject keeps its newest message only. Those under ``n`` are announced (without their bodies) under ``w`` once
they are stored, so that readers can wait without asking.

========================================  =============================================================
``n.t.ID``                                a task's record: the only commit point of everything it does
``n.e.ID.SEQ``                            an event; also the platform's log, in the stream's order
``n.q.ROUTE.PRIO.LANE.ID``                waits to be leased
``k.a.ROUTE.PRIO.LANE``                   this lane may have something waiting there
``k.l.ROUTE.PRIO.TENANT.TYPE.ID``         is leased; rewritten by every heartbeat
``k.d.KIND.ROUTE.PRIO.MINUTE.ID``         becomes due in this minute; KIND is scheduled or retrying
``k.y.MINUTE.ID``                         must have started by this minute
``k.z.ROUTE.PRIO.TENANT.ID``              is a dead letter
``k.x.ID``                                its lease is being taken away; carries a condition and goes at once
``k.i.TENANT.HASH``                       an idempotency key
``k.c.NAME``                              serialises leases under the cap of a tenant or a type
``k.b.TENANT``                            what a tenant has spent and reserved of its budgets
========================================  =============================================================

A lane is what waits in one order: a tenant's tasks, or its tasks of one type where the type has a cap of its own.
"""

from __future__ import annotations

import base64
import hashlib
import re

STREAM = "SOPHIA"
ROOT = "sophia"
STORED = (f"{ROOT}.n.>", f"{ROOT}.k.>")
_PLAIN = re.compile(r"^[A-Za-z0-9_-]{1,128}$")
MINUTE_MS = 60_000


def token(text: str) -> str:
    """Any text as one token of a subject; plain words stay as they are."""
    if _PLAIN.match(text):
        return text
    return "=" + base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def text_of(token_: str) -> str:
    """The text that ``token`` made this of."""
    if not token_.startswith("="):
        return token_
    padded = token_[1:] + "=" * (-len(token_[1:]) % 4)
    return base64.urlsafe_b64decode(padded).decode()


def record(task_id: str) -> str:
    return f"{ROOT}.n.t.{token(task_id)}"


def event(task_id: str, seq: int) -> str:
    return f"{ROOT}.n.e.{token(task_id)}.{seq}"


def events_of(task_id: str) -> str:
    return f"{ROOT}.n.e.{token(task_id)}.*"


def platform_event(unique: str) -> str:
    return f"{ROOT}.n.e._.{unique}"


ALL_RECORDS = f"{ROOT}.n.t.*"
ALL_EVENTS = f"{ROOT}.n.e.>"
PLATFORM_EVENTS = f"{ROOT}.n.e._.*"


def waiting(stream: str, priority: int, lane: str, task_id: str) -> str:
    return f"{ROOT}.n.q.{token(stream)}.{int(priority)}.{token(lane)}.{token(task_id)}"


def waiting_in(stream: str | None = None, priority: int | None = None, lane: str | None = None) -> str:
    return f"{ROOT}.n.q.{_some(stream)}.{_number(priority)}.{_some(lane)}.*"


def active(stream: str, priority: int, lane: str) -> str:
    return f"{ROOT}.k.a.{token(stream)}.{int(priority)}.{token(lane)}"


def active_in(stream: str, priority: int | None = None) -> str:
    return f"{ROOT}.k.a.{token(stream)}.{_number(priority)}.*"


def active_parts(subject: str) -> tuple[str, int, str]:
    """Stream, priority and lane of an ``active`` subject."""
    _, _, _, stream, priority, lane = subject.split(".")
    return text_of(stream), int(priority), text_of(lane)


def lease(stream: str, priority: int, tenant: str, type_: str, task_id: str) -> str:
    return f"{ROOT}.k.l.{token(stream)}.{int(priority)}.{token(tenant)}.{token(type_)}.{token(task_id)}"


def leases_in(
    stream: str | None = None, priority: int | None = None, tenant: str | None = None, type_: str | None = None
) -> str:
    return f"{ROOT}.k.l.{_some(stream)}.{_number(priority)}.{_some(tenant)}.{_some(type_)}.*"


def due(kind: str, stream: str, priority: int, at_ms: int, task_id: str) -> str:
    return f"{ROOT}.k.d.{kind}.{token(stream)}.{int(priority)}.{at_ms // MINUTE_MS}.{token(task_id)}"


def due_in(
    kind: str | None = None, stream: str | None = None, priority: int | None = None, minute: int | None = None
) -> str:
    return f"{ROOT}.k.d.{kind or '*'}.{_some(stream)}.{_number(priority)}.{_number(minute)}.*"


def start_by(at_ms: int, task_id: str) -> str:
    return f"{ROOT}.k.y.{at_ms // MINUTE_MS}.{token(task_id)}"


def start_by_in(minute: int | None = None) -> str:
    return f"{ROOT}.k.y.{_number(minute)}.*"


def dead(stream: str, priority: int, tenant: str, task_id: str) -> str:
    return f"{ROOT}.k.z.{token(stream)}.{int(priority)}.{token(tenant)}.{token(task_id)}"


def dead_in(stream: str | None = None, priority: int | None = None, tenant: str | None = None) -> str:
    return f"{ROOT}.k.z.{_some(stream)}.{_number(priority)}.{_some(tenant)}.*"


def taken_away(task_id: str) -> str:
    return f"{ROOT}.k.x.{token(task_id)}"


def idempotency(tenant: str, key: str) -> str:
    return f"{ROOT}.k.i.{token(tenant)}.{hashlib.sha256(key.encode()).hexdigest()[:40]}"


def cap(name: str) -> str:
    return f"{ROOT}.k.c.{token(name)}"


def account(tenant: str) -> str:
    return f"{ROOT}.k.b.{token(tenant)}"


ACCOUNTS = f"{ROOT}.k.accounts"
"""``open``, or who is about to rebuild what tenants have spent."""


def worker(name: str) -> str:
    return f"{ROOT}.k.w.{token(name)}"


ALL_WORKERS = f"{ROOT}.k.w.*"


def stop(name: str) -> str:
    return f"{ROOT}.k.stop.{token(name)}"


def leader(name: str) -> str:
    return f"{ROOT}.k.lead.{token(name)}"


def snapshot(name: str) -> str:
    return f"{ROOT}.k.snap.{token(name)}"


def poison(seq: int) -> str:
    return f"{ROOT}.k.poison.{seq}"


ALL_POISON = f"{ROOT}.k.poison.*"


def tick(unique: str) -> str:
    return f"{ROOT}.k.tick.{unique}"


FLOOR = f"{ROOT}.k.floor"
"""Sequence of the newest event that was let go: a cursor before it has a gap."""
LET_GO = f"{ROOT}.k.letgo"
"""Sequence up to which no record is final any more: those were let go."""
RECORDED = f"{ROOT}.k.recorded"
"""Sequence up to which the ledger has taken up every record."""
SWEPT = f"{ROOT}.k.swept"
"""First minute in which something may still become due."""


def wake_of(subject: str) -> str:
    """What an announced subject or pattern is announced as."""
    return f"{ROOT}.w.{subject.removeprefix(f'{ROOT}.n.')}"


def task_id_of(subject: str) -> str:
    """The last token of an index subject."""
    return text_of(subject.rpartition(".")[2])


def _some(text: str | None) -> str:
    return "*" if text is None else token(text)


def _number(number: int | None) -> str:
    return "*" if number is None else str(int(number))
