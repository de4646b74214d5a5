"""The circuit breaker, against a plain statement of what it promises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sophia.decisions.breaker import Breaker, BreakerState
from sophia.settings.deployments import BreakerSettings

SETTINGS = BreakerSettings(failures=3, share=0.5, calls=10, window_s=10.0, open_s=1.0, open_max_s=8.0)


def fail(breaker: Breaker, now_s: float, times: int = 1) -> None:
    for _ in range(times):
        breaker.failed(breaker.enter(now_s), now_s)


def test_opens_after_failures_in_a_row_and_one_call_decides():
    breaker = Breaker(SETTINGS)
    fail(breaker, 0.0, 2)
    breaker.succeeded(breaker.enter(0.0), 0.0)
    fail(breaker, 0.0, 2)
    assert breaker.state(0.0) is BreakerState.CLOSED
    fail(breaker, 0.0)
    assert (breaker.state(0.9), breaker.admits(0.9)) == (BreakerState.OPEN, False)
    assert breaker.opens_in_s(0.25) == 0.75
    assert (breaker.state(1.0), breaker.admits(1.0)) == (BreakerState.HALF_OPEN, True)
    probe = breaker.enter(1.0)
    assert not breaker.admits(1.0)
    breaker.succeeded(probe, 1.5)
    assert breaker.state(1.5) is BreakerState.CLOSED
    fail(breaker, 1.5, 2)
    assert breaker.admits(1.5)


@pytest.mark.parametrize("opened", range(1, 9))
def test_every_failed_probe_doubles_its_time(opened: int):
    breaker = Breaker(SETTINGS)
    now_s = 0.0
    fail(breaker, now_s, 3)
    for _ in range(opened - 1):
        now_s += breaker.opens_in_s(now_s)
        fail(breaker, now_s)
    assert breaker.opens_in_s(now_s) == min(8.0, 2.0 ** (opened - 1))


def test_half_of_many_is_enough():
    breaker = Breaker(SETTINGS)
    for number in range(8):
        mark = breaker.enter(number)
        (breaker.failed if number % 2 else breaker.succeeded)(mark, number)
    assert breaker.state(8) is BreakerState.CLOSED
    breaker.succeeded(breaker.enter(8), 8)
    fail(breaker, 8)
    assert breaker.state(8) is BreakerState.OPEN


def test_a_probe_that_was_given_up_lets_the_next_one_in():
    breaker = Breaker(SETTINGS)
    fail(breaker, 0.0, 3)
    breaker.left(breaker.enter(2.0))
    assert breaker.admits(2.0)


def test_what_began_before_it_opened_says_nothing_any_more():
    breaker = Breaker(SETTINGS)
    hung = [breaker.enter(0.0) for _ in range(5)]
    fail(breaker, 0.0, 3)
    breaker.succeeded(hung[0], 0.5)
    breaker.failed(hung[1], 0.5)
    assert (breaker.state(0.5), breaker.opens_in_s(0.5)) == (BreakerState.OPEN, 0.5)
    probe = breaker.enter(1.0)
    breaker.left(hung[2])
    assert not breaker.admits(1.0)
    breaker.failed(probe, 1.0)
    assert breaker.opens_in_s(1.0) == 2.0


STEPS = st.lists(
    st.tuples(st.sampled_from(["enter", "succeed", "fail", "leave"]), st.floats(0, 3), st.integers(0, 7)), max_size=120
)


@given(STEPS)
def test_whatever_happens(steps: list[tuple[str, float, int]]):
    """At most one probe at a time, nothing passes while it is open, and it always comes back to life by itself."""
    breaker = Breaker(SETTINGS)
    running: list[tuple[int, bool]] = []
    now_s = 0.0
    for verb, pause_s, which in steps:
        now_s += pause_s
        if verb == "enter":
            if breaker.admits(now_s):
                probe = breaker.state(now_s) is BreakerState.HALF_OPEN
                running.append((breaker.enter(now_s), probe))
                assert not probe or not breaker.admits(now_s)
        elif running:
            mark, probe = running.pop(which % len(running))
            before = breaker.state(now_s)
            if verb == "leave":
                breaker.left(mark)
                assert breaker.state(now_s) is before
            elif verb == "succeed":
                breaker.succeeded(mark, now_s)
                if probe and before is BreakerState.HALF_OPEN:
                    assert breaker.state(now_s) is not BreakerState.OPEN
            else:
                breaker.failed(mark, now_s)
        if breaker.state(now_s) is BreakerState.OPEN:
            assert not breaker.admits(now_s)
            assert 0 < breaker.opens_in_s(now_s) <= SETTINGS.open_max_s
    for mark, _ in running:
        breaker.left(mark)
    assert breaker.admits(now_s + SETTINGS.open_max_s)
