"""Settings after every reference was resolved: what ``app`` builds from."""

from __future__ import annotations

from pathlib import Path

import msgspec

from sophia.settings.inference import ProviderSettings
from sophia.settings.machines import FlyMachinesSettings, LambdaCloudSettings
from sophia.settings.model import Settings


class TenantKey(msgspec.Struct, frozen=True, kw_only=True):
    tenant: str
    key: str
    operator: bool = False

    def __repr__(self) -> str:
        return f"TenantKey(tenant={self.tenant!r}, key=***, operator={self.operator})"


class ResolvedProvider(msgspec.Struct, frozen=True, kw_only=True):
    """A model provider that is in use, secrets filled in."""

    name: str
    settings: ProviderSettings
    base_url: str
    """Ends without a slash; OpenAI paths such as ``/chat/completions`` are appended to it."""
    headers: dict[str, str]
    """With ``Authorization`` when the provider has a key."""

    def __repr__(self) -> str:
        return f"ResolvedProvider(name={self.name!r}, base_url={self.base_url!r}, headers=***)"


class ResolvedLambdaCloud(msgspec.Struct, frozen=True, kw_only=True):
    """Lambda's cloud, its key filled in."""

    settings: LambdaCloudSettings
    base_url: str
    """Ends without a slash."""
    api_key: str

    def __repr__(self) -> str:
        return f"ResolvedLambdaCloud(base_url={self.base_url!r}, api_key=***)"


class ResolvedFlyMachines(msgspec.Struct, frozen=True, kw_only=True):
    """Fly's Machines API, its token filled in."""

    settings: FlyMachinesSettings
    base_url: str
    """Ends without a slash."""
    api_token: str

    def __repr__(self) -> str:
        return f"ResolvedFlyMachines(base_url={self.base_url!r}, api_token=***)"


class ResolvedObjects(msgspec.Struct, frozen=True, kw_only=True):
    """A bucket, secrets filled in."""

    bucket: str
    prefix: str
    endpoint: str | None
    """``None``: AWS."""
    region: str
    access_key_id: str
    secret_access_key: str

    def __repr__(self) -> str:
        return f"ResolvedObjects(bucket={self.bucket!r}, prefix={self.prefix!r}, endpoint={self.endpoint!r})"


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    settings: Settings
    config_path: Path | None
    data_dir: Path
    redis_url: str | None
    """``None``: the embedded server is to be started, or the queue is not on Redis."""
    nats_url: str | None
    """``None``: the embedded server is to be started, or the queue is not on JetStream."""
    ledger_url: str | None
    """``None``: SQLite in the data folder."""
    objects: ResolvedObjects | None
    """``None``: a folder in the data folder."""
    api_keys: tuple[TenantKey, ...]
    key_secret: bytes | None = None
    """``None``: the data folder's own."""
    providers: dict[str, ResolvedProvider]
    """Only those in use; embedded kinds are in use when their URL is known (``sophia up`` passes it down)."""
    lambda_cloud: ResolvedLambdaCloud | None = None
    """``None``: its key is not set."""
    fly_machines: ResolvedFlyMachines | None = None
    """``None``: its token is not set."""

    host_credentials: dict[str, str] = {}
    """What a GPU host is given when it joins, by variable."""

    def __repr__(self) -> str:
        return f"Loaded(profile={self.settings.profile!r}, data_dir={str(self.data_dir)!r})"
