"""References to values that are too large for the queue and the ledger and are kept in the object store instead."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from sophia.nouns.task import TaskRecord

MARK = "$object"
"""The only key of a mapping that stands for a stored value. No payload and no result of any task type has it."""


class ObjectRef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which object a value is, and what lists show of it without loading it.

    ``day`` is the UTC day of its storing: the same value stored on another day is another object, so that what is old
    can be deleted without a look at what is being stored right now.
    """

    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    bytes: Annotated[int, msgspec.Meta(ge=0)]
    day: Annotated[str, msgspec.Meta(pattern="^[0-9]{8}$")]
    title: str = ""

    @property
    def key(self) -> str:
        return f"{self.day}/{self.sha256}"


def day_of(now_ms: int) -> str:
    return datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y%m%d")


def as_value(ref: ObjectRef) -> dict[str, Any]:
    """What stands in the value's place."""
    return {MARK: msgspec.to_builtins(ref)}


def reference_in(value: Any) -> ObjectRef | None:
    """The reference that stands in a value's place; ``None`` where the value is there itself."""
    if not isinstance(value, dict) or len(value) != 1 or MARK not in value:
        return None
    try:
        return msgspec.convert(value[MARK], ObjectRef)
    except msgspec.ValidationError:
        return None


def same_whenever(value: Any) -> Any:
    """A value for comparing requests: of a reference only what depends on the content."""
    ref = reference_in(value)
    return value if ref is None else {MARK: ref.sha256}


def object_keys(record: TaskRecord) -> list[str]:
    """Keys of the objects that a task needs."""
    refs = (reference_in(record.task.payload), reference_in(record.result))
    return list(dict.fromkeys(ref.key for ref in refs if ref is not None))
