"""Sections about machines: the clouds that lend them, and how Fly's apps and GPU hosts are set up."""

from __future__ import annotations

from typing import Annotated

import msgspec

from sophia.settings.fields import CountFrom1, Name, NotNegative, Port, Positive, Region, SecretRef, Section, UrlPath


class PoolsSettings(Section, frozen=True, kw_only=True):
    tick_s: Positive
    history_s: Positive
    """How long terminated instances stay listed."""
    reap_every_s: Positive
    """Between two looks of the reaper, which ends machines that nobody wants."""


class LambdaCloudSettings(Section, frozen=True, kw_only=True):
    """Lambda's cloud, the machine provider ``lambda``. In use when its key is set."""

    base_url: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s/@]+(/[^\s]*)?$")]
    base_url_env: Annotated[str, msgspec.Meta(pattern=r"^[A-Z][A-Z0-9_]*$")] | None = None
    """Environment variable that, when set, replaces ``base_url``."""
    api_key: SecretRef
    owner: Name
    """Stamped into every machine. Machines of other owners in the same account are left alone."""
    ssh_key_names: tuple[str, ...] = ()
    """The cloud wants exactly one; without it, the first one of the account is taken."""
    image_family: str | None = None
    """``null``: Lambda's current stack."""
    request_every_s: NotNegative
    launch_every_s: NotNegative
    """Both limits hold for the whole account: leave room for whoever else uses it."""
    timeout_s: Positive


class FlyMachinesSettings(Section, frozen=True, kw_only=True):
    """Fly's Machines API, the machine provider ``fly``. In use when its token is set. A pool's machines are in the app of
    its name."""

    base_url: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s/@]+(/[^\s]*)?$")]
    base_url_env: Annotated[str, msgspec.Meta(pattern=r"^[A-Z][A-Z0-9_]*$")] | None = None
    """Environment variable that, when set, replaces ``base_url``."""
    api_token: SecretRef
    owner: Name
    """Stamped into every machine. Machines of other owners in the same apps are left alone."""
    image: str
    """What a worker's machine runs: the image's entry point is ``sophia``."""
    environment: dict[str, str] = msgspec.field(default_factory=dict)
    """Of the machines; never secrets, which are the app's own on Fly (`fly secrets set`)."""
    timeout_s: Positive


class HealthCheckSettings(Section, frozen=True, kw_only=True):
    """How a platform asks whether a role lives; the TCP check has the same figures."""

    path: UrlPath
    interval_s: Positive
    timeout_s: Positive
    grace_s: Positive


class ConcurrencySettings(Section, frozen=True, kw_only=True):
    """Load of one machine: above ``soft`` others are preferred, at ``hard`` it gets no more."""

    unit: Annotated[str, msgspec.Meta(pattern="^(requests|connections)$")]
    soft: CountFrom1
    hard: CountFrom1


class MachineSize(Section, frozen=True, kw_only=True):
    cpu_kind: Annotated[str, msgspec.Meta(pattern="^(shared|performance)$")]
    cpus: CountFrom1
    memory_mb: CountFrom1


class FlySettings(Section, frozen=True, kw_only=True):
    """What all Fly apps have in common."""

    primary_region: Region
    fallback_regions: tuple[Region, ...]
    internal_port: Port
    public_port: Port
    handlers: tuple[str, ...]
    alpn: tuple[str, ...]
    """With ``http/1.1``: ``h2`` alone shuts HTTP/1.1 clients out."""
    kill_signal: Annotated[str, msgspec.Meta(pattern="^SIG[A-Z]+$")]
    kill_timeout_s: Positive
    rollout: Annotated[str, msgspec.Meta(pattern="^(rolling|bluegreen|canary|immediate)$")]
    max_unavailable: CountFrom1
    rollout_wait_s: Positive
    static_dir: str
    static_url: UrlPath
    health_check: HealthCheckSettings


class FlyAppSettings(Section, frozen=True, kw_only=True):
    """One app. Its name on Fly is its key."""

    role: Name
    regions: tuple[Region, ...]
    min_machines: Annotated[int, msgspec.Meta(ge=0)]
    max_machines: CountFrom1
    size: MachineSize
    presets: dict[Name, MachineSize] = msgspec.field(default_factory=dict)
    """Other sizes by name, for ``deploy --size``."""
    always_on: bool = False
    sticky_sessions: bool = False
    target_cpu_percent: Annotated[int, msgspec.Meta(ge=1, le=100)] | None = None
    scale_on_queue_depth: bool = False
    leader_lease: bool = False
    concurrency: ConcurrencySettings | None = None


class GpuHostSettings(Section, frozen=True, kw_only=True):
    """What a GPU host is set up with."""

    os: str
    cuda: str
    driver: str
    image: str
    restart_s: Positive
    """Pause before the runner is started again after it ended."""
    join_url: Annotated[str, msgspec.Meta(pattern=r"^https://[^\s/@]+$")] | None = None
    """The gateway as hosts reach it. ``null``: hosts get no set-up document, and nothing runs on them by itself."""
    join_ttl_s: Positive = 1800.0
    """A host must have joined by then."""
    lease_s: Annotated[float, msgspec.Meta(ge=60)] = 900.0
    """A host that has not seen a pool manager at work for so long drains and ends itself."""
    credentials: tuple[Annotated[str, msgspec.Meta(pattern=r"^[A-Z][A-Z0-9_]*$")], ...] = ()
    """Environment variables of the gateway that a host is given when it joins, as far as they are set."""
