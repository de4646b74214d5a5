"""The emulated Fly account keeps to the published document; ``emulated_fly`` holds every exchange against it."""

from __future__ import annotations

import pytest
import pytest_asyncio

from sophia.emulated.cloud import Nature
from sophia.nouns.errors import (
    Conflict,
    InsufficientCapacity,
    InvalidInput,
    NotFound,
    QuotaExceeded,
    RateLimited,
    Unauthorized,
    Unavailable,
)
from sophia.providers.fly import wire
from sophia.providers.fly.prices import CPUS, MARKUP, MEMORY_MB_PER_CPU, size_named
from tests.support.clouds import contract
from tests.support.fly import DOCUMENT, emulated_fly, fly_client
from tests.support.waiting import eventually

APP = "cpu-workers"
NATURE = Nature(boot_s=(0.05, 0.1), stop_s=0.05, rate_limits=False)


def order(name: str, memory_mb: int = 4096) -> wire.Order:
    config = wire.Config(
        image="registry.test/worker:1",
        guest=wire.Guest(cpu_kind="shared", cpus=2, memory_mb=memory_mb),
        init=wire.Init(cmd=("worker",)),
        env={"A": "b"},
        metadata={"sophia_instance": name},
        restart=wire.Restart(policy="no"),
        stop_config=wire.StopConfig(signal="SIGTERM", timeout="5s"),
    )
    return wire.Order(name=name, region="sjc", config=config)


@pytest_asyncio.fixture
async def account():
    contract(DOCUMENT)
    async with emulated_fly(NATURE, APP, quota=2) as (cloud, url):
        client = fly_client(url)
        yield cloud, client
        await client.close()


async def state(client, machine, wanted):
    return (await client.machine(APP, machine)).state == wanted


async def test_a_machine_lives_rests_and_is_started_again(account):
    cloud, client = account
    made = await client.create(APP, order("one"))
    await eventually(lambda: state(client, made.id, "started"))
    await client.suspend(APP, made.id)
    await eventually(lambda: state(client, made.id, "suspended"))
    await client.start(APP, made.id)
    await eventually(lambda: state(client, made.id, "started"))
    await client.stop(APP, made.id, signal="SIGTERM", timeout_s=5)
    await eventually(lambda: state(client, made.id, "stopped"))
    nonce = await client.lease(APP, made.id, 30)
    updated = await client.update(APP, made.id, order("two"), nonce)
    assert updated.known.metadata == {"sophia_instance": "two"}
    await client.release(APP, made.id, nonce)
    await eventually(lambda: state(client, made.id, "started"))
    await client.destroy(APP, made.id)
    await eventually(lambda: _gone(client, made.id))
    bill = cloud.fleet.statement()
    assert [line.instance for line in bill.lines] == ["one", "one", "two"]
    assert bill.usd == pytest.approx(bill.seconds * size_named("shared-cpu-2x-4096").usd_per_s("sjc"), rel=0.05)


async def _gone(client, machine):
    return machine not in [one.id for one in await client.machines(APP)]


async def test_leases_names_states_and_sizes_are_guarded(account):
    _cloud, client = account
    made = await client.create(APP, order("one"))
    with pytest.raises(Conflict, match="unique machine name"):
        await client.create(APP, order("one"))
    await client.lease(APP, made.id, 30)
    with pytest.raises(Conflict, match="leased"):
        await client.stop(APP, made.id, signal="SIGTERM", timeout_s=5)
    with pytest.raises(InvalidInput, match="memory"):
        await client.create(APP, order("two", memory_mb=100_000))
    with pytest.raises(NotFound):
        await client.machine(APP, "none")
    with pytest.raises(NotFound):
        await client.machines("other-app")
    other = await client.create(APP, order("two"))
    with pytest.raises(Conflict, match="precondition"):
        await client.suspend(APP, other.id)
    with pytest.raises(QuotaExceeded):
        await client.create(APP, order("three"))


async def test_a_wrong_token_no_capacity_errors_and_lost_answers():
    for nature, token, error in (
        (NATURE, "wrong", Unauthorized),
        (Nature(outage=1.0, rate_limits=False), "emulated", InsufficientCapacity),
        (Nature(fails=1.0, rate_limits=False), "emulated", Unavailable),
        (Nature(throttled=1.0, rate_limits=False), "emulated", RateLimited),
        (Nature(reply_lost=1.0, rate_limits=False), "emulated", Unavailable),
    ):
        async with emulated_fly(nature, APP) as (cloud, url):
            client = fly_client(url, token=token)
            with pytest.raises(error):
                await client.create(APP, order("one"))
            await client.close()
            assert len(cloud.fleet.machines) == (1 if nature.reply_lost else 0)


async def test_rates_are_limited_and_the_client_keeps_to_them():
    async with emulated_fly(Nature(boot_s=(0, 0)), APP) as (_, url):
        hasty, patient = fly_client(url), fly_client(url, rate_per_s=1.0)
        for number in range(3):
            await patient.create(APP, order(f"p{number}"))
        assert patient.create_wait_s(APP) > 0.5
        with pytest.raises(RateLimited) as refused:
            await hasty.create(APP, order("h"))
        assert refused.value.retry_after_s == 1.0
        await hasty.close()
        await patient.close()


def test_prices_and_sizes_are_the_published_ones():
    table = contract("fly-machine-sizes.json")
    assert table["region_markup"] == dict(MARKUP)
    for row in table["sizes"]:
        size = size_named(f"{row['size']}")
        assert (size.cpu_kind, size.cpus, size.memory_mb) == (row["cpu_kind"], row["cpus"], row["memory_mb_default"])
        least, most = (each * size.cpus for each in MEMORY_MB_PER_CPU[size.cpu_kind])
        assert (least, most) == (row["memory_mb_min"], row["memory_mb_max"])
        for region, price in row["usd_per_hour"].items():
            assert size.usd_per_hour(region) == pytest.approx(price, abs=2e-6)
    assert {row["cpus"] for row in table["sizes"] if row["cpu_kind"] == "shared"} == CPUS["shared"]
    assert {row["cpus"] for row in table["sizes"] if row["cpu_kind"] == "performance"} == CPUS["performance"]
    with pytest.raises(InvalidInput, match="no size"):
        size_named("gpu_1x_a10")
    with pytest.raises(InvalidInput, match="3 CPUs"):
        size_named("shared-cpu-3x")
