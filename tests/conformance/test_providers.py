"""What every provider promises. Clouds join by adding a kit of their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Protocol

import msgspec
import pytest_asyncio

from sophia.emulated.cloud import Nature
from sophia.emulated.fly import EmulatedFly
from sophia.emulated.lambda_cloud import EmulatedLambda
from sophia.nouns.pool import PoolSpec
from sophia.providers.base import LaunchRequest, Machine, Provider
from sophia.providers.fly import FlyProvider
from sophia.providers.instance_files import InstanceFiles
from sophia.providers.lambda_cloud import LambdaProvider
from sophia.providers.local import LocalProvider
from sophia.providers.processes import kill
from tests.support.child_processes import OBEDIENT
from tests.support.clouds import emulated_lambda, lambda_provider
from tests.support.fly import emulated_fly, fly_provider
from tests.support.waiting import eventually

CLOUD = Nature(boot_s=(0.05, 0.2), stop_s=0.1, listed_after_end_s=0.2, rate_limits=False)


def pool_spec(provider: str, instance_type: str) -> PoolSpec:
    return PoolSpec(
        provider=provider,
        streams=("light",),
        instance_types=(instance_type,),
        min=0,
        max=3,
        idle_timeout_s=60.0,
        slots=1,
    )


class ProviderKit(Protocol):
    spec: PoolSpec

    def provider(self) -> Provider:
        """A provider object; all of one kit see the same machines."""

    async def crash(self, ref: str) -> None:
        """End a machine as a power cut would."""


class LocalKit:
    spec = pool_spec("local", "process")

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def provider(self) -> LocalProvider:
        return LocalProvider(lambda _: OBEDIENT, self.folder, {"PATH": os.environ["PATH"]}, None)

    async def crash(self, ref: str) -> None:
        instance = InstanceFiles(self.folder / "instances").read(ref)
        assert instance is not None
        assert instance.process is not None
        kill(instance.process)


class FlyKit:
    spec = msgspec.structs.replace(pool_spec("fly", "shared-cpu-2x-4096"), regions=("sjc",))

    def __init__(self, cloud: EmulatedFly, url: str) -> None:
        self.cloud = cloud
        self.url = url

    def provider(self) -> FlyProvider:
        return fly_provider(self.url, "cpu")

    async def crash(self, ref: str) -> None:
        machine = self.cloud.fleet.machines[ref]
        machine.enter("stopped", self.cloud.fleet.now())


class LambdaKit:
    spec = pool_spec("lambda", "gpu_1x_a10")

    def __init__(self, cloud: EmulatedLambda, url: str) -> None:
        self.cloud = cloud
        self.url = url

    def provider(self) -> LambdaProvider:
        return lambda_provider(self.url)

    async def crash(self, ref: str) -> None:
        self.cloud.fleet.terminate(ref)


@contextlib.asynccontextmanager
async def local_kit(folder: Path) -> AsyncIterator[ProviderKit]:
    yield LocalKit(folder / "machines")


@contextlib.asynccontextmanager
async def lambda_kit(folder: Path) -> AsyncIterator[ProviderKit]:
    async with emulated_lambda(CLOUD) as (cloud, url):
        yield LambdaKit(cloud, url)


@contextlib.asynccontextmanager
async def fly_kit(folder: Path) -> AsyncIterator[ProviderKit]:
    async with emulated_fly(CLOUD, "cpu") as (cloud, url):
        yield FlyKit(cloud, url)


KITS = {"local": local_kit, "lambda": lambda_kit, "fly": fly_kit}


class Closing:
    """A kit whose providers are closed at the end."""

    def __init__(self, kit: ProviderKit) -> None:
        self.kit = kit
        self.spec = kit.spec
        self.opened: list[Provider] = []

    def provider(self) -> Provider:
        self.opened.append(self.kit.provider())
        return self.opened[-1]

    async def crash(self, ref: str) -> None:
        await self.kit.crash(ref)


@pytest_asyncio.fixture(params=KITS)
async def kit(request, tmp_path):
    async with KITS[request.param](tmp_path) as opened:
        kit = Closing(opened)
        yield kit
        provider = kit.provider()
        for machine in await provider.machines():
            await provider.terminate(machine.ref)
        for each in kit.opened:
            await each.close()


async def request_for(kit: ProviderKit, provider: Provider, instance_id: str) -> LaunchRequest:
    offers = await provider.offers(kit.spec)
    return LaunchRequest(instance_id=instance_id, pool="cpu", spec=kit.spec, offer=offers[0])


def listed(provider: Provider) -> Callable[[], Awaitable[dict[str, Machine]]]:
    async def names() -> dict[str, Machine]:
        return {machine.name: machine for machine in await provider.machines()}

    return names


async def gone(provider: Provider, name: str) -> bool:
    return name not in await listed(provider)()


async def test_offers_name_a_type_a_region_and_a_price(kit):
    offers = await kit.provider().offers(kit.spec)
    assert offers
    for offer in offers:
        assert offer.instance_type in kit.spec.instance_types
        assert offer.region
        assert offer.price_usd_per_hour >= 0


async def test_a_machine_is_launched_listed_drained_and_gone(kit):
    provider = kit.provider()
    machine = await provider.launch(await request_for(kit, provider, "cpu-1"))
    assert (machine.name, machine.pool) == ("cpu-1", "cpu")
    there = (await listed(provider)())["cpu-1"]
    assert there.ref == machine.ref
    assert there.state in ("booting", "running")
    assert there.instance_type == kit.spec.instance_types[0]
    await provider.drain(machine.ref)
    if not provider.traits.ends_with_worker:
        await provider.terminate(machine.ref)
    await eventually(lambda: gone(provider, "cpu-1"))


async def test_terminating_and_draining_what_is_gone_is_success(kit):
    provider = kit.provider()
    machine = await provider.launch(await request_for(kit, provider, "cpu-1"))
    await provider.terminate(machine.ref)
    await eventually(lambda: gone(provider, "cpu-1"))
    await provider.terminate(machine.ref)
    await provider.drain(machine.ref)
    await provider.terminate("never-there")


async def test_another_provider_object_sees_and_controls_the_same_machines(kit):
    first, second = kit.provider(), kit.provider()
    machine = await first.launch(await request_for(kit, first, "cpu-1"))
    await first.close()
    assert (await listed(second)())["cpu-1"].ref == machine.ref
    await second.terminate(machine.ref)
    await eventually(lambda: gone(second, "cpu-1"))


async def test_a_crashed_machine_leaves_the_list(kit):
    provider = kit.provider()
    one = await provider.launch(await request_for(kit, provider, "cpu-1"))
    await provider.launch(await request_for(kit, provider, "cpu-2"))
    await kit.crash(one.ref)
    await eventually(lambda: gone(provider, "cpu-1"))
    assert set(await listed(provider)()) == {"cpu-2"}


async def test_a_launch_whose_reply_is_lost_is_found_by_its_name(kit):
    provider = kit.provider()
    request = await request_for(kit, provider, "cpu-1")
    launching = asyncio.create_task(provider.launch(request))
    await eventually(lambda: kit.provider().machines())
    launching.cancel()
    await asyncio.gather(launching, return_exceptions=True)

    async def there() -> bool:
        return not await gone(kit.provider(), "cpu-1")

    await eventually(there)
