"""The client of Lambda's cloud against its emulation."""

from __future__ import annotations

import time
from typing import Any

import pytest

from sophia.emulated.cloud import Nature
from sophia.nouns.errors import (
    Forbidden,
    InsufficientCapacity,
    NotFound,
    QuotaExceeded,
    RateLimited,
    Unauthorized,
    Unavailable,
    UpstreamError,
)
from sophia.nouns.pool import Offer, PoolSpec
from sophia.providers.base import LaunchRequest
from sophia.providers.lambda_cloud.refusals import refusal
from tests.support.clouds import emulated_lambda, lambda_client, lambda_provider
from tests.support.waiting import eventually

NATURE = Nature(boot_s=(0.1, 0.1), stop_s=0.1, listed_after_end_s=60.0, rate_limits=False)


def spec(**changes):
    values: dict[str, Any] = {
        "provider": "lambda",
        "streams": ("embedding",),
        "instance_types": ("gpu_1x_a6000", "gpu_1x_a10"),
        "min": 0,
        "max": 3,
        "idle_timeout_s": 60.0,
        "slots": 1,
    }
    return PoolSpec(**(values | changes))


def order(instance_id="embedding-1", instance_type="gpu_1x_a10", region="us-west-1"):
    offer = Offer(instance_type=instance_type, region=region, price_usd_per_hour=1.29, available=True)
    return LaunchRequest(instance_id=instance_id, pool="embedding", spec=spec(), offer=offer)


async def test_offers_follow_the_pools_order_of_types_and_regions_at_the_clouds_prices():
    async with emulated_lambda(NATURE) as (_, url):
        provider = lambda_provider(url)
        offers = await provider.offers(spec(regions=("us-west-1", "us-east-1")))
        assert [(one.instance_type, one.region, one.price_usd_per_hour) for one in offers] == [
            ("gpu_1x_a6000", "us-west-1", 1.09),
            ("gpu_1x_a6000", "us-east-1", 1.09),
            ("gpu_1x_a10", "us-west-1", 1.29),
            ("gpu_1x_a10", "us-east-1", 1.29),
        ]
        assert all(one.available for one in offers)
        await provider.close()


async def test_what_is_sold_out_everywhere_is_still_offered_as_such():
    async with emulated_lambda(Nature(outage=1.0, rate_limits=False)) as (_, url):
        provider = lambda_provider(url)
        offers = await provider.offers(spec())
        assert [(one.region, one.available) for one in offers] == [("any", False), ("any", False)]
        await provider.close()


async def test_a_machine_carries_its_id_its_pool_and_its_set_up_document():
    async with emulated_lambda(NATURE) as (cloud, url):

        async def document(request: LaunchRequest) -> str:
            return f"#cloud-config {request.instance_id}"

        provider = lambda_provider(url, user_data=document)
        machine = await provider.launch(order())
        (there,) = cloud.fleet.machines.values()
        assert there.name == "embedding-1"
        assert there.tags == {
            "sophia-owner": "tests",
            "sophia-pool": "embedding",
            "sophia-instance": "embedding-1",
        }
        assert there.user_data == "#cloud-config embedding-1"
        (listed,) = await provider.machines()
        assert (listed.ref, listed.name, listed.pool, listed.billed) == (machine.ref, "embedding-1", "embedding", False)

        async def billed() -> bool:
            return (await provider.machines())[0].billed

        await eventually(billed)
        await provider.close()


async def test_machines_of_other_owners_are_neither_seen_nor_touched():
    async with emulated_lambda(NATURE) as (_, url):
        other, ours = lambda_provider(url, owner="other"), lambda_provider(url)
        await other.launch(order())
        assert await ours.machines() == []
        await other.close()
        await ours.close()


@pytest.mark.parametrize(
    ("nature", "error"),
    [
        (Nature(no_capacity=1.0, rate_limits=False), InsufficientCapacity),
        (Nature(throttled=1.0), RateLimited),
        (Nature(fails=1.0, rate_limits=False), Unavailable),
        (Nature(reply_lost=1.0, rate_limits=False), Unavailable),
    ],
)
async def test_refusals_have_their_types(nature, error):
    async with emulated_lambda(nature) as (_, url):
        provider = lambda_provider(url, ssh_key_names=("emulated",))
        with pytest.raises(error):
            await provider.launch(order())
        await provider.close()


async def test_quota_key_and_account():
    async with emulated_lambda(NATURE, quota=0) as (cloud, url):
        provider = lambda_provider(url)
        with pytest.raises(QuotaExceeded, match="quota"):
            await provider.launch(order())
        cloud.active = False
        with pytest.raises(Forbidden):
            await provider.machines()
        stranger = lambda_client(url, key="other")
        with pytest.raises(Unauthorized):
            await stranger.instances()
        await stranger.close()
        await provider.close()


async def test_a_cloud_that_is_not_there_is_unavailable():
    client = lambda_client("http://127.0.0.1:9/api/v1")
    with pytest.raises(Unavailable, match="does not answer"):
        await client.instances()
    await client.close()


async def test_requests_keep_the_accounts_pace():
    async with emulated_lambda(Nature()) as (_, url):
        client = lambda_client(url, request_every_s=1.05, launch_every_s=12.5)
        began_s = time.monotonic()
        await client.instances()
        await client.instances()
        assert time.monotonic() - began_s >= 1.0
        await client.close()


async def test_a_429_holds_further_requests_back():
    async with emulated_lambda(Nature(throttled=1.0)) as (_, url):
        client = lambda_client(url)
        assert client.launch_wait_s() == 0
        with pytest.raises(RateLimited) as caught:
            await client.instances()
        assert caught.value.retry_after_s == 2.0
        assert 1.0 < client.launch_wait_s() <= 2.0
        await client.close()


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (404, b'{"error": {"code": "global/object-does-not-exist", "message": "no"}}', NotFound),
        (400, b'{"error": {"code": "provider/internal-unavailable", "message": "no"}}', Unavailable),
        (403, b"<html>", Forbidden),
        (401, b"", Unauthorized),
        (502, b"<html>", Unavailable),
        (418, b"{}", UpstreamError),
    ],
)
def test_codes_decide_before_statuses(status, body, error):
    assert type(refusal(status, {}, body)) is error
