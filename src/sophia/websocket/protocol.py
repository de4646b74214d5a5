"""What goes over the socket: the client's requests and the server's messages, as JSON."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec

from sophia.events.view import EventView
from sophia.nouns.errors import InvalidInput
from sophia.nouns.event import Event, EventKind

PROTOCOL = "sophia.v1"
MAX_TOPICS = 100
TOPICS = ("tasks", "pools", "queue")
_TASK_TOPIC = re.compile(r"^task:([0-9a-f]{32})$")
_TOO_DETAILED = frozenset({EventKind.TASK_PROGRESS, EventKind.TASK_OUTPUT})
_KNOWN = "tasks, pools, queue, or task:<id>"


class Subscribe(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="subscribe", forbid_unknown_fields=True):
    """What to send from now on; it replaces what was asked before.

    ``after``: the cursor of the last event seen. ``null``: from now on, or after an earlier ``subscribe`` on this
    connection without a break.
    """

    topics: Annotated[list[str], msgspec.Meta(max_length=MAX_TOPICS)]
    after: str | None = None


class Subscribed(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="subscribed"):
    """Every event of the topics after ``cursor`` follows."""

    topics: list[str]
    cursor: str


class EventMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="event"):
    event: EventView


class Gap(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="gap"):
    """Events before ``cursor`` were trimmed unseen: fetch the state anew, then go on."""

    cursor: str


class Trouble(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="error"):
    """The request before it was not understood; what was subscribed stays so."""

    code: Literal["malformed", "unknown_topic", "bad_cursor", "unavailable"]
    message: str


Message = Subscribed | EventMessage | Gap | Trouble


class Interest(msgspec.Struct, frozen=True):
    """Which events a client wants. A tenant sees its own tasks, and what concerns the whole platform."""

    tenant: str
    topics: frozenset[str] = frozenset()
    task_ids: frozenset[str] = frozenset()

    def wants(self, event: Event) -> bool:
        topic = event.topic
        if topic != "tasks":
            return topic in self.topics and event.tenant in ("", self.tenant)
        if event.tenant != self.tenant:
            return False
        return event.subject in self.task_ids or ("tasks" in self.topics and event.kind not in _TOO_DETAILED)


def interest_in(topics: list[str], tenant: str) -> Interest:
    """Raises ``InvalidInput`` that names the topic nobody knows."""
    task_ids = set()
    for topic in topics:
        if match := _TASK_TOPIC.match(topic):
            task_ids.add(match[1])
        elif topic not in TOPICS:
            raise InvalidInput(f"there is no topic {topic[:80]!r}", field="topics", mend=f"known: {_KNOWN}")
    return Interest(tenant, frozenset(topics) & frozenset(TOPICS), frozenset(task_ids))


_decoder = msgspec.json.Decoder(Subscribe)
_encode = msgspec.json.Encoder().encode


def decode(text: bytes | str) -> Subscribe:
    """Raises ``InvalidInput`` that says what is wrong with the message."""
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(
            f"not a message of {PROTOCOL}: {error}", mend='send {"op":"subscribe","topics":["tasks"],"after":null}'
        ) from error


def encode(message: Message) -> bytes:
    return _encode(message)
