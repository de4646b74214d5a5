"""The provider `fly`: machines that rest are started before new ones are made; what goes wrong; pools that scale."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
import pytest

from sophia.emulated.cloud import Nature
from sophia.emulated.fly_workers import FlyWorkers
from sophia.nouns.clock import SystemClock
from sophia.nouns.errors import InvalidInput, Unavailable
from sophia.nouns.pool import Offer, PoolSpec
from sophia.pools.manager import PoolManager
from sophia.providers.base import LaunchRequest
from tests.support.fly import emulated_fly, fly_client, fly_provider
from tests.support.pool_bench import PoolBench, pool_spec
from tests.support.waiting import eventually

NATURE = Nature(boot_s=(0.1, 0.2), stop_s=0.05, rate_limits=False)
POOL = "cpu-workers"
SIZE = "shared-cpu-2x-4096"
SPEC = PoolSpec(
    provider="fly",
    streams=("light",),
    instance_types=(SIZE,),
    regions=("sjc",),
    min=0,
    max=3,
    idle_timeout_s=1,
    slots=1,
)


def request(instance: str, pool: str = POOL, region: str = "sjc") -> LaunchRequest:
    offer = Offer(instance_type=SIZE, region=region, price_usd_per_hour=0.02, available=None)
    return LaunchRequest(instance_id=instance, pool=pool, spec=SPEC, offer=offer)


@contextlib.asynccontextmanager
async def provided(nature=NATURE, **options):
    async with emulated_fly(nature, POOL, **options) as (cloud, url):
        provider = fly_provider(url, POOL)
        yield cloud, provider, url
        await provider.close()


async def states(provider):
    return {one.name: one.state for one in await provider.machines()}


async def rested(provider, instance):
    """Launch, and let it stop."""
    machine = await provider.launch(request(instance))

    async def running():
        return (await states(provider)).get(instance) == "running"

    async def gone():
        return instance not in await states(provider)

    await eventually(running)
    await provider.drain(machine.ref)
    await eventually(gone)
    return machine.ref


async def test_offers_have_the_price_of_each_region():
    async with provided() as (_, provider, _url):
        (offer,) = await provider.offers(SPEC)
        assert (offer.instance_type, offer.region, offer.available) == (SIZE, "sjc", None)
        assert offer.price_usd_per_hour == pytest.approx(0.042063, abs=1e-4)


async def test_a_machine_that_rests_is_started_as_the_new_instance():
    async with provided() as (cloud, provider, _):
        first = await rested(provider, "cpu-1")
        again = await provider.launch(request("cpu-2"))
        assert again.ref == first
        assert again.name == "cpu-2"
        assert len(cloud.fleet.machines) == 1
        machine = cloud.fleet.machines[first]
        assert machine.config["init"]["cmd"] == ["worker", "--pool", POOL, "--id", "cpu-2"]
        assert machine.lease == ""
        another = await provider.launch(request("cpu-3"))
        assert another.ref != first
        elsewhere = await provider.launch(request("cpu-4", region="iad"))
        assert elsewhere.region == "iad"


async def test_a_suspended_machine_is_taken_too_and_a_leased_one_is_left():
    async with provided() as (_cloud, provider, url):
        client = fly_client(url)
        machine = await provider.launch(request("cpu-1"))

        async def is_now(state):
            return (await client.machine(POOL, machine.ref)).state == state

        await eventually(lambda: is_now("started"))
        await client.suspend(POOL, machine.ref)
        await eventually(lambda: is_now("suspended"))
        assert await states(provider) == {}
        nonce = await client.lease(POOL, machine.ref, 30)
        assert (await provider.launch(request("cpu-2"))).ref != machine.ref
        await client.release(POOL, machine.ref, nonce)
        assert (await provider.launch(request("cpu-3"))).ref == machine.ref
        await client.close()


async def test_machines_of_other_owners_are_not_touched():
    async with provided() as (_cloud, provider, url):
        other = fly_provider(url, POOL, owner="others")
        ref = await rested(other, "theirs-1")
        running = await other.launch(request("theirs-2"))
        assert running.ref == ref
        assert await states(provider) == {}
        await provider.terminate(ref)
        assert (await states(other))["theirs-2"] in ("booting", "running")
        await other.close()


async def test_a_launch_that_is_repeated_after_a_lost_answer_makes_no_second_machine():
    async with provided() as (cloud, provider, _):
        cloud.fleet.nature = msgspec.structs.replace(NATURE, reply_lost=1.0)
        with pytest.raises(Unavailable):
            await provider.launch(request("cpu-1"))
        cloud.fleet.nature = NATURE
        created = len(cloud.fleet.machines)
        if created:
            with pytest.raises(Unavailable, match="there already"):
                await provider.launch(request("cpu-1"))
        assert len(cloud.fleet.machines) == created


async def test_what_cannot_be_stopped_is_destroyed_and_failures_are_lost():
    async with provided(msgspec.structs.replace(NATURE, boot_s=(60, 60))) as (_cloud, provider, _):
        machine = await provider.launch(request("cpu-1"))
        assert (await states(provider)) == {"cpu-1": "booting"}
        await provider.terminate(machine.ref)
        await eventually(lambda: _none(provider))
    async with provided(msgspec.structs.replace(NATURE, never_boots=1.0)) as (_cloud, provider, _):
        machine = await provider.launch(request("cpu-1"))
        assert (await states(provider)) == {"cpu-1": "lost"}
        await provider.terminate(machine.ref)
        await eventually(lambda: _none(provider))


async def _none(provider):
    return not await provider.machines()


async def test_a_pool_without_an_app_and_a_size_that_fly_has_not_are_refused():
    async with provided() as (_, provider, _url):
        with pytest.raises(InvalidInput, match="no app on Fly"):
            await provider.launch(request("x", pool="other"))
        with pytest.raises(InvalidInput, match="no size"):
            await provider.offers(msgspec.structs.replace(SPEC, instance_types=("process",)))


async def test_cpu_workers_scale_from_zero_on_queue_depth_and_back(tmp_path, redis_url):
    """The real pool manager, the real queue, real worker processes inside the emulated machines."""
    bench = PoolBench(tmp_path, redis_url)
    pools = {
        POOL: pool_spec(provider="fly", instance_types=(SIZE,), regions=("sjc",), max=3, slots=1, target_wait_s=0.5)
    }
    async with provided() as (cloud, provider, _):
        workers = FlyWorkers(cloud.fleet, bench.local_provider(), pools)
        inside = asyncio.create_task(workers.run())
        manager = PoolManager(
            bench.settings(pools),
            {"fly": provider},
            bench.tasks,
            bench.upkeep,
            bench.events,
            bench.ledger,
            SystemClock(),
        )
        try:
            await bench.ledger.migrate()
            bench.start(manager)
            for _ in range(2):
                tasks = [await bench.submit(0.3) for _ in range(6)]

                async def all_done(tasks=tasks):
                    return all(
                        one and one.state == "succeeded" for one in await bench.tasks.get([task.id for task in tasks])
                    )

                async def at_zero():
                    return not await provider.machines()

                await eventually(lambda: bench.instances(POOL, "ready", "working"), timeout_s=20)
                await eventually(all_done, timeout_s=30)
                await eventually(at_zero, timeout_s=20)
        finally:
            await bench.stop()
            inside.cancel()
            await asyncio.gather(inside, return_exceptions=True)
            await bench.close()
        bill = cloud.fleet.statement()
        assert 1 < len(cloud.fleet.machines) <= 3
        # The second wave ran on the machines of the first.
        assert len({line.instance for line in bill.lines}) > len(cloud.fleet.machines)
        assert all(machine.state == "stopped" for machine in cloud.fleet.machines.values())
        assert bill.usd > 0
