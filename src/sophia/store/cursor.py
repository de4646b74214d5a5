"""Where a list goes on: an opaque word for the last task of a page."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

import msgspec

from sophia.nouns.errors import InvalidInput


class Position(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The last task that was given out. Both values never change, so no page misses or repeats a task."""

    submitted_at_ms: Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62)]
    task_id: Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]


def encode(position: Position) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).rstrip(b"=").decode()


def decode(cursor: str) -> Position:
    """Raises ``InvalidInput`` for anything that ``encode`` did not make."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        position = msgspec.json.decode(raw, type=Position)
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise _refused() from error
    if not position.task_id.isprintable() or encode(position) != cursor:
        raise _refused()
    return position


def _refused() -> InvalidInput:
    return InvalidInput("the cursor is not one that a list gave out", field="cursor", mend="next_cursor of a page")
