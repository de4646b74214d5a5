"""What every provider promises. Clouds join by adding a kit of their own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import pytest

from sophia.nouns.pool import PoolSpec
from sophia.providers.base import LaunchRequest, Machine, Provider
from sophia.providers.instance_files import InstanceFiles
from sophia.providers.local import LocalProvider
from sophia.providers.processes import kill
from tests.support.child_processes import OBEDIENT
from tests.support.waiting import eventually

SPEC = PoolSpec(
    provider="local", streams=("light",), instance_types=("process",), min=0, max=3, idle_timeout_s=60.0, slots=1
)


class ProviderKit(Protocol):
    def provider(self) -> Provider:
        """A provider object; all of one kit see the same machines."""

    async def crash(self, ref: str) -> None:
        """End a machine as a power cut would."""


class LocalKit:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def provider(self) -> LocalProvider:
        return LocalProvider(lambda _: OBEDIENT, self.folder, {"PATH": os.environ["PATH"]}, None)

    async def crash(self, ref: str) -> None:
        instance = InstanceFiles(self.folder / "instances").read(ref)
        assert instance is not None
        assert instance.process is not None
        kill(instance.process)


@pytest.fixture(params=["local"])
async def kit(request, tmp_path):
    assert request.param == "local"
    kit = LocalKit(tmp_path / "machines")
    yield kit
    provider = kit.provider()
    for machine in await provider.machines():
        await provider.terminate(machine.ref)


async def request_for(provider: Provider, instance_id: str) -> LaunchRequest:
    offers = await provider.offers(SPEC)
    return LaunchRequest(instance_id=instance_id, pool="cpu", spec=SPEC, offer=offers[0])


def listed(provider: Provider) -> Callable[[], Awaitable[dict[str, Machine]]]:
    async def names() -> dict[str, Machine]:
        return {machine.name: machine for machine in await provider.machines()}

    return names


async def gone(provider: Provider, name: str) -> bool:
    return name not in await listed(provider)()


async def test_offers_name_a_type_a_region_and_a_price(kit):
    offers = await kit.provider().offers(SPEC)
    assert offers
    for offer in offers:
        assert offer.instance_type in SPEC.instance_types
        assert offer.region
        assert offer.price_usd_per_hour >= 0


async def test_a_machine_is_launched_listed_drained_and_gone(kit):
    provider = kit.provider()
    machine = await provider.launch(await request_for(provider, "cpu-1"))
    assert (machine.name, machine.pool) == ("cpu-1", "cpu")
    there = (await listed(provider)())["cpu-1"]
    assert there.ref == machine.ref
    assert there.state in ("booting", "running")
    assert there.instance_type == "process"
    assert there.started_at_ms is not None
    await provider.drain(machine.ref)
    await eventually(lambda: gone(provider, "cpu-1"))


async def test_terminating_and_draining_what_is_gone_is_success(kit):
    provider = kit.provider()
    machine = await provider.launch(await request_for(provider, "cpu-1"))
    await provider.terminate(machine.ref)
    await eventually(lambda: gone(provider, "cpu-1"))
    await provider.terminate(machine.ref)
    await provider.drain(machine.ref)
    await provider.terminate("never-there")


async def test_another_provider_object_sees_and_controls_the_same_machines(kit):
    first, second = kit.provider(), kit.provider()
    machine = await first.launch(await request_for(first, "cpu-1"))
    await first.close()
    assert (await listed(second)())["cpu-1"].ref == machine.ref
    await second.terminate(machine.ref)
    await eventually(lambda: gone(second, "cpu-1"))


async def test_a_crashed_machine_leaves_the_list(kit):
    provider = kit.provider()
    one = await provider.launch(await request_for(provider, "cpu-1"))
    await provider.launch(await request_for(provider, "cpu-2"))
    await kit.crash(one.ref)
    await eventually(lambda: gone(provider, "cpu-1"))
    assert set(await listed(provider)()) == {"cpu-2"}


async def test_a_launch_whose_reply_is_lost_is_found_by_its_name(kit):
    provider = kit.provider()
    request = await request_for(provider, "cpu-1")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await provider.launch(request)

    async def there() -> bool:
        return not await gone(kit.provider(), "cpu-1")

    await eventually(there)
