"""What was learned of demand passes from one pool manager to the next."""

from __future__ import annotations

import msgspec
import pytest_asyncio

from sophia.decisions.scaling.history import History
from sophia.nouns.clock import SystemClock
from sophia.nouns.pool import Demand, Scaling
from sophia.pools.memory import HISTORIES, Memory
from tests.support.pool_bench import PoolBench, pool_spec
from tests.support.waiting import eventually

MINUTE_MS = 60_000


@pytest_asyncio.fixture
async def bench(tmp_path, redis_url):
    bench = PoolBench(tmp_path, redis_url)
    await bench.ledger.migrate()
    yield bench
    await bench.close()


def taught(minutes: int, until_ms: int) -> History:
    history = History(Scaling(policy="forecast"), 4)
    for minute in range(minutes):
        seen = Demand(waiting=minute % 3, running=4 + minute % 5, oldest_age_s=20.0, task_s=8.0)
        history.look(seen, until_ms - (minutes - minute) * MINUTE_MS)
    return history


async def test_the_next_leader_knows_what_the_last_one_learned(bench):
    clock = SystemClock()
    old, fresh = taught(200, clock.now_ms()), History(Scaling(policy="forecast"), 4)
    await Memory({"gpu": old, "gone": old}, bench.events, clock).keep(now=True)
    await Memory({"gpu": fresh, "new": History(Scaling(), 4)}, bench.events, clock).recall()
    assert fresh.likely() == old.likely() > 0
    assert fresh.late_share() == old.late_share() > 0
    assert len(msgspec.json.encode(old.learned())) < 40_000


async def test_minutes_of_another_day_say_nothing_of_the_next_but_the_week_does():
    old, fresh = taught(200, 10**12), History(Scaling(policy="forecast"), 4)
    fresh.resume(old.learned(), 10**12 + 24 * 60 * MINUTE_MS)
    assert fresh.likely() == 0
    assert fresh.learned().bins == old.learned().bins


async def test_nonsense_in_its_place_is_passed_over(bench):
    await bench.events.put_snapshot(HISTORIES, b"{nonsense")
    history = History(Scaling(), 4)
    await Memory({"gpu": history}, bench.events, SystemClock()).recall()
    assert history.likely() == 0


async def test_a_manager_that_ends_leaves_what_it_learned(bench):
    bench.start(bench.manager(cpu=pool_spec()))
    await eventually(lambda: bench.status("cpu"))
    await bench.stop()
    body = await bench.events.snapshot(HISTORIES)
    assert body is not None
    assert "cpu" in msgspec.json.decode(body)
