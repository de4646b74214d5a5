"""Positions in the platform's log, compared.

A cursor is one position per partition of the log, joined by commas; a position is two numbers joined by a dash. The
empty cursor stands before everything. Readers merge partitions in different orders, so "have I seen this event" is
asked of the one partition the event is in, never of the whole cursor.
"""

from __future__ import annotations

from sophia.nouns.errors import InvalidInput

Position = tuple[int, int]


def parse(cursor: str) -> tuple[Position, ...]:
    """Raises ``InvalidInput`` when it is not a cursor."""
    positions = []
    for part in cursor.split(",") if cursor else ():
        first, dash, second = part.partition("-")
        if not (dash and first.isdecimal() and second.isdecimal() and len(part) <= 41):
            raise InvalidInput(f"{cursor[:80]!r} is not a cursor", field="after", mend="a cursor from an earlier event")
        positions.append((int(first), int(second)))
    return tuple(positions)


def merged(left: str, right: str) -> str:
    """The cursor after everything that either of the two is after."""
    if left == right or not right:
        return left
    if not left:
        return right
    pairs = zip(parse(left), parse(right), strict=True)
    return ",".join(f"{ms}-{number}" for ms, number in (max(pair) for pair in pairs))


def reaches(cursor: str, goal: str) -> bool:
    """Whether ``cursor`` is at or after ``goal`` in every partition."""
    return merged(cursor, goal) == cursor


def has_seen(cursor: str, before: str, after: str) -> bool:
    """Whether a reader at ``cursor`` has had the event that took another reader from ``before`` to ``after``."""
    if not cursor:
        return False
    new = parse(after)
    old = parse(before) or ((0, 0),) * len(new)
    return all(mine >= its for mine, was, its in zip(parse(cursor), old, new, strict=True) if its != was)
