"""Orders of operators: left for the pool manager, carried out once, answered in words."""

from __future__ import annotations

import msgspec
import pytest_asyncio

from sophia.nouns.clock import SystemClock
from sophia.nouns.pool import POOL_ANSWERS, POOL_ORDERS, PoolAnswer, PoolAnswers, PoolOrder, PoolOrders
from tests.support.pool_bench import PoolBench, pool_spec
from tests.support.waiting import eventually

BOOT_S = 30.0


@pytest_asyncio.fixture
async def bench(tmp_path, redis_url):
    bench = PoolBench(tmp_path, redis_url)
    await bench.ledger.migrate()
    yield bench
    await bench.close()


async def order(bench: PoolBench, number: int, verb: str, *, lasts_s: float = 30.0, **more) -> str:
    made = PoolOrder(
        id=f"order-{number}",
        pool="cpu",
        verb=verb,  # type: ignore[arg-type]
        by="tests",
        expires_at_ms=SystemClock().now_ms() + round(lasts_s * 1000),
        **more,
    )
    await bench.events.put_snapshot(POOL_ORDERS, msgspec.json.encode(PoolOrders(orders=(made,))))
    return made.id


async def answers(bench: PoolBench) -> dict[str, PoolAnswer]:
    body = await bench.events.snapshot(POOL_ANSWERS)
    return {} if body is None else {one.id: one for one in msgspec.json.decode(body, type=PoolAnswers).answers}


async def answered(bench: PoolBench, order_id: str) -> PoolAnswer | None:
    return (await answers(bench)).get(order_id)


async def ordered(bench: PoolBench, number: int, verb: str, **more) -> PoolAnswer:
    order_id = await order(bench, number, verb, **more)
    answer: PoolAnswer = await eventually(lambda: answered(bench, order_id), BOOT_S)
    return answer


async def test_launch_drain_and_terminate(bench):
    bench.start(bench.manager(cpu=pool_spec(idle_timeout_s=600.0)))
    would = await ordered(bench, 1, "launch", dry_run=True)
    assert (would.ok, would.message) == (True, "would launch process in local at $0/h")
    done = await ordered(bench, 2, "launch")
    assert done.ok
    (first,) = await eventually(lambda: bench.instances("cpu", "ready"), BOOT_S)
    assert first.id in done.message
    unknown = await ordered(bench, 3, "drain", instance="cpu-none")
    assert (unknown.ok, unknown.message) == (False, "cpu has no instance 'cpu-none'")
    drained = await ordered(bench, 4, "drain", instance=first.id)
    assert drained.message.startswith(f"draining {first.id}")
    await eventually(lambda: bench.instances("cpu", "terminated"), BOOT_S)


async def test_a_cordoned_pool_launches_nothing_whoever_leads(bench):
    bench.start(bench.manager(cpu=pool_spec()))
    assert (await ordered(bench, 1, "cordon")).ok

    async def cordoned() -> bool:
        status = await bench.status("cpu")
        return status is not None and status.cordoned

    await eventually(cordoned)
    await bench.stop()
    bench.start(bench.manager(cpu=pool_spec(min=1)))
    refused = await ordered(bench, 2, "launch")
    assert (refused.ok, refused.message) == (False, "the pool is cordoned")
    assert await bench.provider.machines() == []
    assert (await ordered(bench, 3, "uncordon")).ok
    await eventually(lambda: bench.instances("cpu", "ready"), BOOT_S)


async def test_an_order_whose_time_is_over_is_not_carried_out(bench):
    await order(bench, 1, "launch", lasts_s=-1.0)
    bench.start(bench.manager(cpu=pool_spec()))
    assert (await ordered(bench, 2, "launch", dry_run=True)).ok
    assert await answered(bench, "order-1") is None
    assert await bench.provider.machines() == []
