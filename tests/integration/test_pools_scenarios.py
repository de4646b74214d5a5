"""A few of the soak's thousand lives of pools: lost replies, outages, limits, and a manager killed at every step."""

from __future__ import annotations

import pytest

from soak import pools_run
from soak.pools_run import LAUNCH_STEPS


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return pools_run.settings_of(tmp_path_factory.mktemp("pools"))


@pytest.mark.parametrize("seed", range(2 * len(LAUNCH_STEPS)))
def test_nothing_leaks_nothing_is_launched_twice_and_the_bill_is_known(seed, settings):
    outcome = pools_run.run_one(seed, settings)
    assert outcome.problems == []
