"""What is known of the server's time from answers that took their time."""

from __future__ import annotations

import pytest

from sophia.queue.jetstream.clock import Bounds


def test_a_slow_answer_does_not_change_what_a_quick_one_has_said() -> None:
    quick, slow = Bounds(1_000.0, 1_002.0), Bounds(-3_500.0, 1_001.5)
    assert quick.narrowed(slow) == Bounds(1_000.0, 1_001.5)
    assert slow.narrowed(quick) == Bounds(1_000.0, 1_001.5)


@pytest.mark.parametrize("set_by_ms", [-3_600_000.0, 40.0, 3_600_000.0])
def test_a_server_whose_clock_was_set_is_followed(set_by_ms: float) -> None:
    before = Bounds(1_000.0, 1_002.0)
    after = Bounds(1_000.0 + set_by_ms, 1_002.0 + set_by_ms)
    assert before.narrowed(after) == after


def test_what_is_known_wears_off_with_the_drift_of_clocks() -> None:
    worn = Bounds(1_000.0, 1_002.0).after(100.0)
    assert (worn.low_ms, worn.high_ms) == pytest.approx((980.0, 1_022.0))
    assert worn.middle_ms == pytest.approx(1_001.0)
    assert worn.width_ms == pytest.approx(42.0)
