"""Positions in a log of several partitions, compared."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sophia.events.cursors import has_seen, merged, parse, reaches
from sophia.nouns.errors import InvalidInput

positions = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=3, max_size=3)
cursors = st.just("") | positions.map(lambda made: ",".join(f"{ms}-{number}" for ms, number in made))


@given(cursors, cursors, cursors)
def test_merging_takes_the_later_of_each(a: str, b: str, c: str) -> None:
    assert merged(a, b) == merged(b, a)
    assert merged(a, merged(b, c)) == merged(merged(a, b), c)
    assert reaches(merged(a, b), a)
    assert reaches(merged(a, b), b)
    assert reaches(a, "")


@pytest.mark.parametrize("wrong", ["x", "1", "1-", "-1", "1-2,", "1-2,x-1", "1-2-3", "²-1", "1-" + "9" * 60])
def test_what_is_no_cursor_is_refused(wrong: str) -> None:
    with pytest.raises(InvalidInput):
        parse(wrong)


@given(st.randoms(use_true_random=False), st.integers(1, 4), st.integers(0, 30))
def test_two_readers_of_different_orders_agree_on_what_was_seen(
    choice: random.Random, partitions: int, count: int
) -> None:
    log = [[(number, 0) for number in range(1, choice.randint(0, count) + 1)] for _ in range(partitions)]

    def read(until: int | None = None) -> list[tuple[str, str, tuple[int, int]]]:
        """Merge the partitions in a random order: (cursor before, cursor after, what was read)."""
        at = [0] * partitions
        out: list[tuple[str, str, tuple[int, int]]] = []
        while any(at[n] < len(log[n]) for n in range(partitions)) and (until is None or len(out) < until):
            n = choice.choice([n for n in range(partitions) if at[n] < len(log[n])])
            before = ",".join(f"{x}-0" for x in at)
            at[n] += 1
            out.append((before, ",".join(f"{x}-0" for x in at), (n, at[n])))
        return out

    mine = read(until=choice.randint(0, 2 * count))
    cursor = mine[-1][1] if mine else ""
    had = {what for _, _, what in mine}
    for before, after, what in read():
        assert has_seen(cursor, before, after) == (what in had)
        cursor, had = merged(cursor, after), had | {what}
