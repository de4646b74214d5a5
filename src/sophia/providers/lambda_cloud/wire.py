"""The parts of Lambda's API documents that are used. Unknown fields are ignored, as its clients are asked to."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")

MAX_NAME = 64
MAX_USER_DATA_BYTES = 1_000_000


class Data(msgspec.Struct, Generic[T], frozen=True):
    """Every success carries its object there."""

    data: T


class Region(msgspec.Struct, frozen=True, kw_only=True):
    name: str


class InstanceType(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    price_cents_per_hour: int


class InstanceTypesItem(msgspec.Struct, frozen=True, kw_only=True):
    instance_type: InstanceType
    regions_with_capacity_available: list[Region]


class Tag(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    value: str


class ListedInstance(msgspec.Struct, frozen=True, kw_only=True):
    """``status``: booting, active, unhealthy, terminating, terminated, preempted."""

    id: str
    status: str
    region: Region
    instance_type: InstanceType
    name: str = ""
    ip: str | None = None
    tags: list[Tag] = []


class Image(msgspec.Struct, frozen=True, kw_only=True):
    family: str


class LaunchOrder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    region_name: str
    instance_type_name: str
    ssh_key_names: tuple[str, ...]
    name: str
    tags: tuple[Tag, ...]
    user_data: str | None = None
    image: Image | None = None


class Launched(msgspec.Struct, frozen=True, kw_only=True):
    instance_ids: list[str]


class TerminateOrder(msgspec.Struct, frozen=True, kw_only=True):
    instance_ids: tuple[str, ...]


class Terminated(msgspec.Struct, frozen=True, kw_only=True):
    terminated_instances: list[ListedInstance]


class SshKey(msgspec.Struct, frozen=True, kw_only=True):
    name: str


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    code: str
    message: str
    suggestion: str = ""


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    error: Refusal
