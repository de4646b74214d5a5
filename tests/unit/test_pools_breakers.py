"""What is not tried for now."""

from __future__ import annotations

import random

from sophia.nouns.clock import ManualClock
from sophia.nouns.errors import InsufficientCapacity, QuotaExceeded, RateLimited, Unauthorized
from sophia.nouns.pool import Offer
from sophia.pools.breakers import Breakers


def offer(region: str = "a") -> Offer:
    return Offer(instance_type="t", region=region, price_usd_per_hour=1.0, available=True)


def breakers() -> tuple[Breakers, ManualClock]:
    clock = ManualClock()
    return Breakers(clock, random.Random(1)), clock


def test_a_pool_that_fails_pauses_longer_each_time_and_one_success_ends_it():
    made, clock = breakers()
    made.pool_failed("gpu", "no boot")
    assert made.paused("gpu", "lambda") == "launches pause, failed once: no boot"
    assert made.paused("other", "lambda") is None
    clock.advance(2)
    assert made.paused("gpu", "lambda") is None
    made.pool_failed("gpu", "no boot")
    assert made.paused("gpu", "lambda") == "launches pause, failed 2 times in a row: no boot"
    made.pool_succeeded("gpu")
    assert made.paused("gpu", "lambda") is None


def test_a_refused_key_pauses_every_pool_of_its_provider():
    made, clock = breakers()
    assert made.provider_refused("lambda", Unauthorized("the key is invalid"))
    assert made.paused("gpu", "lambda") == "launches pause, failed once: lambda: the key is invalid"
    assert made.paused("cpu", "fly") is None
    clock.advance(60)
    assert made.paused("gpu", "lambda") is None
    assert made.provider_refused("lambda", QuotaExceeded("quota"))
    clock.advance(59)
    assert "failed 2 times in a row" in (made.paused("gpu", "lambda") or "")
    made.provider_took("lambda")
    assert made.paused("gpu", "lambda") is None


def test_a_rate_limit_pauses_for_as_long_as_it_says_and_is_no_failure():
    made, clock = breakers()
    assert made.provider_refused("lambda", RateLimited("slowly", retry_after_s=7))
    assert made.paused("gpu", "lambda") == "launches pause: lambda: slowly"
    clock.advance(7)
    assert made.paused("gpu", "lambda") is None


def test_missing_capacity_speaks_for_one_type_in_one_region_only():
    made, clock = breakers()
    assert not made.provider_refused("lambda", InsufficientCapacity("none"))
    made.sold_out("lambda", offer("a"))
    assert made.refused("lambda") == {("t", "a")}
    assert made.refused("fly") == frozenset()
    clock.advance(30)
    assert made.refused("lambda") == frozenset()
    made.sold_out("lambda", offer("a"))
    made.in_stock("lambda", offer("a"))
    assert made.refused("lambda") == frozenset()
