"""First choice and fallbacks of a model's deployments."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sophia.decisions.attempts import (
    Candidate,
    Failure,
    FailureKind,
    NextTry,
    asks_for_another,
    first_try,
    next_try,
)
from sophia.settings.deployments import FallbackSettings

SETTINGS = FallbackSettings(retries=1, retry_base_s=0.2, retry_wait_max_s=2.0)
REFUSED = Failure(kind=FailureKind.REFUSED)
LATE = Failure(kind=FailureKind.LATE)


def each(*orders: int, **given: object) -> list[Candidate]:
    return [Candidate(order=order, weight=1.0, **given) for order in orders]  # type: ignore[arg-type]


def after(candidates: list[Candidate], failed: int, failure: Failure, left_s: float = 60.0) -> NextTry | None:
    return next_try(candidates, failed, failure, settings=SETTINGS, left_s=left_s, chance=0.5)


def test_weights_among_equals():
    candidates = [Candidate(order=0, weight=3.0), Candidate(order=0, weight=1.0), Candidate(order=1, weight=100.0)]
    chosen = Counter(first_try(candidates, number / 1000) for number in range(1000))
    assert chosen == {0: 750, 1: 250}


def test_one_that_rests_is_asked_only_when_nobody_else_can_be():
    resting, usable, out = (
        Candidate(order=0, weight=1, resting=True),
        Candidate(order=5, weight=1),
        Candidate(order=0, weight=1, usable=False),
    )
    assert first_try([resting, usable, out], 0.0) == 1
    assert first_try([resting, out], 0.0) == 0
    assert first_try([out], 0.0) is None


def test_an_equal_then_itself_then_the_next():
    a, b = Candidate(order=0, weight=1, tries=1), Candidate(order=0, weight=1)
    c = Candidate(order=1, weight=1)
    assert after([a, b, c], 0, REFUSED) == NextTry(number=1)
    both = [a, Candidate(order=0, weight=1, tries=1), c]
    assert after(both, 1, REFUSED) == NextTry(number=1, wait_s=0.2 * 0.75)
    used_up = [a, Candidate(order=0, weight=1, tries=2), c]
    assert after(used_up, 1, REFUSED) == NextTry(number=2)


@pytest.mark.parametrize(
    ("retry_after_s", "expected"), [(1.5, NextTry(number=0, wait_s=1.5)), (2.5, NextTry(number=1))]
)
def test_a_short_retry_after_is_waited_out_and_a_long_one_is_not(retry_after_s: float, expected: NextTry):
    failure = Failure(kind=FailureKind.REFUSED, retry_after_s=retry_after_s)
    candidates = [Candidate(order=0, weight=1, tries=1), Candidate(order=1, weight=1)]
    assert after(candidates, 0, failure) == expected
    if expected.number:
        assert after(candidates[:1], 0, failure) is None


def test_who_was_late_is_asked_again_last():
    late, other = Candidate(order=0, weight=1, tries=1), Candidate(order=1, weight=1)
    assert after([late, other], 0, LATE) == NextTry(number=1)
    assert after([late], 0, LATE) == NextTry(number=0, wait_s=0.2 * 0.75)
    assert after([late], 0, LATE, left_s=0.1) is None


@pytest.mark.parametrize(
    ("status", "again"), [(200, False), (400, False), (404, False), (408, True), (429, True), (500, True), (501, False)]
)
def test_statuses(status: int, again: bool):
    assert asks_for_another(status, SETTINGS) is again


def test_statuses_are_as_configured():
    settings = FallbackSettings(statuses=(404, 501))
    assert [status for status in (404, 429, 500, 501) if asks_for_another(status, settings)] == [404, 501]


CANDIDATES = st.lists(
    st.builds(
        Candidate,
        order=st.integers(0, 3),
        weight=st.floats(0.1, 10),
        usable=st.booleans(),
        resting=st.booleans(),
    ),
    min_size=1,
    max_size=5,
)
FAILURES = st.builds(Failure, kind=st.sampled_from(FailureKind), retry_after_s=st.none() | st.floats(0, 10))


@given(CANDIDATES, st.lists(FAILURES, min_size=40, max_size=40), st.floats(0, 0.999), st.floats(0.1, 30))
def test_every_call_comes_to_an_end(candidates: list[Candidate], failures: list[Failure], chance: float, left_s: float):
    """Only usable ones are asked, each at most ``1 + retries`` times, in order, within the time that is left."""
    number = first_try(candidates, chance)
    if number is None:
        assert not any(candidate.usable for candidate in candidates)
        return
    asked: list[int] = []
    for failure in failures:
        asked.append(number)
        candidate = candidates[number]
        assert candidate.usable
        candidates[number] = Candidate(
            order=candidate.order, weight=candidate.weight, resting=candidate.resting, tries=candidate.tries + 1
        )
        step = next_try(candidates, number, failure, settings=SETTINGS, left_s=left_s, chance=chance)
        if step is None:
            break
        assert 0 <= step.wait_s <= SETTINGS.retry_wait_max_s
        assert step.wait_s < left_s
        assert step.wait_s == 0 or step.number == number
        left_s -= step.wait_s
        number = step.number
    else:
        raise AssertionError("it never ends")
    assert max(Counter(asked).values()) <= 1 + SETTINGS.retries
    untried = [c for c in candidates if c.usable and not c.tries]
    assert not untried or left_s <= 0
    firsts = [candidates[n] for n in dict.fromkeys(asked)]
    awake = [c.order for c in firsts if not c.resting]
    assert awake == sorted(awake)
