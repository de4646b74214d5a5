"""The machine provider ``lambda``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from sophia.nouns.clock import Clock
from sophia.nouns.errors import InvalidInput, NotFound, QuotaExceeded, SophiaError, Unavailable
from sophia.nouns.pool import Offer, PoolSpec
from sophia.providers.base import LaunchRequest, Machine, Traits
from sophia.providers.lambda_cloud import wire
from sophia.providers.lambda_cloud.client import LambdaClient

OWNER_TAG = "sophia-owner"
POOL_TAG = "sophia-pool"
INSTANCE_TAG = "sophia-instance"
OFFERS_KEPT_S = 20.0
"""A plan of several launches asks once; what was sold out meanwhile says so itself."""
NOWHERE = "any"
"""Region of an offer that no region has capacity for."""

STATES = {
    "booting": "booting",
    "active": "running",
    "unhealthy": "unhealthy",
    "preempted": "lost",
    "terminating": "stopping",
}
"""``terminated`` is not listed. A status that is not known yet counts as ``unhealthy``: it can neither be trusted nor
forgotten."""
BILLED = frozenset({"active", "unhealthy"})
"""Paid from healthy to the order to terminate."""

UserData = Callable[[LaunchRequest], Awaitable[str]]
"""The cloud-init document that a machine is set up with. Made anew for every launch: it holds a token."""


class LambdaProvider:
    """Implements ``Provider``. Only machines that carry our ``owner`` in their tags are seen and touched.

    The instance id is the machine's name and one of its tags, so that a launch whose answer was lost is found by
    listing. ``ssh_key_names`` empty: the account's first key.
    """

    name = "lambda"
    traits = Traits(launch_grace_s=60.0, ends_with_worker=False)

    def __init__(
        self,
        client: LambdaClient,
        clock: Clock,
        *,
        owner: str,
        ssh_key_names: Sequence[str] = (),
        image_family: str | None = None,
        user_data: UserData | None = None,
    ) -> None:
        self._client = client
        self._clock = clock
        self._owner = owner
        self._ssh_key_names = tuple(ssh_key_names)
        self._image = None if image_family is None else wire.Image(family=image_family)
        self._user_data = user_data
        self._types: dict[str, wire.InstanceTypesItem] = {}
        self._types_at_s: float | None = None

    def launch_wait_s(self) -> float:
        return self._client.launch_wait_s()

    async def offers(self, spec: PoolSpec) -> list[Offer]:
        """By type in the pool's order, then by region in the pool's order, or in the cloud's where the pool names none."""
        types = await self._instance_types()
        return [
            offer
            for name in spec.instance_types
            if (item := types.get(name)) is not None
            for offer in _offers_of(item, spec.regions)
        ]

    async def launch(self, request: LaunchRequest) -> Machine:
        order = wire.LaunchOrder(
            region_name=request.offer.region,
            instance_type_name=request.offer.instance_type,
            ssh_key_names=await self._keys(),
            name=request.instance_id[: wire.MAX_NAME],
            tags=(
                wire.Tag(key=OWNER_TAG, value=self._owner),
                wire.Tag(key=POOL_TAG, value=request.pool),
                wire.Tag(key=INSTANCE_TAG, value=request.instance_id),
            ),
            user_data=await self._document(request),
            image=self._image,
        )
        try:
            ids = await self._client.launch(order)
        except SophiaError:
            self._types_at_s = None
            raise
        if not ids:
            raise Unavailable("Lambda took the launch and named no instance")
        return Machine(
            ref=ids[0],
            name=request.instance_id,
            pool=request.pool,
            state="booting",
            instance_type=request.offer.instance_type,
            region=request.offer.region,
            price_usd_per_hour=request.offer.price_usd_per_hour,
        )

    async def machines(self) -> Sequence[Machine]:
        listed = [_machine(one, self._owner) for one in await self._client.instances()]
        return [machine for machine in listed if machine is not None]

    async def drain(self, ref: str) -> None:
        """A machine has no other way to hear of it than its queue."""

    async def terminate(self, ref: str) -> None:
        try:
            await self._client.terminate(ref)
        except NotFound:
            return

    async def close(self) -> None:
        await self._client.close()

    async def _instance_types(self) -> dict[str, wire.InstanceTypesItem]:
        now_s = self._clock.monotonic_s()
        if self._types_at_s is None or now_s - self._types_at_s > OFFERS_KEPT_S:
            self._types = await self._client.instance_types()
            self._types_at_s = now_s
        return self._types

    async def _keys(self) -> tuple[str, ...]:
        if not self._ssh_key_names:
            known = await self._client.ssh_keys()
            if not known:
                raise QuotaExceeded(
                    "the account has no SSH key, and Lambda launches nothing without one",
                    mend="add one in Lambda's dashboard, and name it in lambda_cloud.ssh_key_names",
                )
            self._ssh_key_names = (known[0],)
        return self._ssh_key_names[:1]

    async def _document(self, request: LaunchRequest) -> str | None:
        if self._user_data is None:
            return None
        document = await self._user_data(request)
        if len(document.encode()) > wire.MAX_USER_DATA_BYTES:
            raise InvalidInput("the set-up document is larger than the megabyte that Lambda takes", field="user_data")
        return document


def _offers_of(item: wire.InstanceTypesItem, wanted: Sequence[str]) -> list[Offer]:
    """In every wanted region; what is not listed with capacity is sold out there."""
    there = [region.name for region in item.regions_with_capacity_available]
    price = item.instance_type.price_cents_per_hour / 100
    return [
        Offer(
            instance_type=item.instance_type.name,
            region=region,
            price_usd_per_hour=price,
            available=region in there,
        )
        for region in (wanted or there or (NOWHERE,))
    ]


def _machine(one: wire.ListedInstance, owner: str) -> Machine | None:
    """``None`` for what is not ours, and for what is gone."""
    tags = {tag.key: tag.value for tag in one.tags}
    if tags.get(OWNER_TAG) != owner or one.status == "terminated":
        return None
    return Machine(
        ref=one.id,
        name=tags.get(INSTANCE_TAG) or one.name,
        pool=tags.get(POOL_TAG, ""),
        state=STATES.get(one.status, "unhealthy"),
        instance_type=one.instance_type.name,
        region=one.region.name,
        price_usd_per_hour=one.instance_type.price_cents_per_hour / 100,
        billed=one.status in BILLED,
    )
