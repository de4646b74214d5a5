"""References to variables become values; what is not in use is left out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from sophia.nouns.errors import ConfigError
from sophia.nouns.pool import PoolSpec
from sophia.nouns.task import Tier
from sophia.settings.document import dotted
from sophia.settings.fields import SecretRef
from sophia.settings.inference import ProviderSettings
from sophia.settings.loaded import (
    Loaded,
    ResolvedFlyMachines,
    ResolvedLambdaCloud,
    ResolvedObjects,
    ResolvedProvider,
    TenantKey,
)
from sophia.settings.machines import FlyMachinesSettings, LambdaCloudSettings
from sophia.settings.model import ObjectSettings, Settings

ANTHROPIC_VERSION = "2023-06-01"
EMBEDDED_KINDS = frozenset({"llama_embedded", "onnx_embedded"})
REDIS_SCHEMES = ("redis://", "rediss://", "unix://", "redis+cluster://", "rediss+cluster://")
NATS_SCHEMES = ("nats://", "tls://", "ws://", "wss://")
OBJECT_SCHEMES = ("s3://",)
LEDGER_SCHEMES = ("postgresql://", "postgres://", "sqlite:///")
OVERRIDES = {
    "redis.url": "SOPHIA_REDIS_URL",
    "nats.url": "SOPHIA_NATS_URL",
    "ledger.url": "SOPHIA_LEDGER_URL",
    "objects.url": "SOPHIA_OBJECTS_URL",
}
LEAST_SECRET = 32
_HEADER_SAFE = re.compile(r"^[\t\x20-\x7e]+$")


class _Missing:
    """Collects what is wrong with variables, so that all of it is said at once. Values are never repeated."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.problems: list[str] = []

    def secret(self, ref: SecretRef, path: str, override: str | None = None) -> str:
        value = self.environ.get(ref.env, "").strip()
        if not value:
            also = f" (or {override})" if override else ""
            self.problems.append(f"{path}: the environment variable {ref.env}{also} is not set")
        elif not _HEADER_SAFE.match(value):
            self.problems.append(
                f"{path}: the value of {ref.env} has line breaks or characters that no header may carry"
            )
        return value

    def url(self, path: str, ref: SecretRef | str | None, schemes: tuple[str, ...]) -> str | None:
        override = OVERRIDES[path]
        name, value = override, self.environ.get(override, "").strip()
        if not value:
            if ref is None:
                return None
            if isinstance(ref, str):
                name, value = path, ref
            else:
                name, value = ref.env, self.secret(ref, path, override)
        if value and not value.startswith(schemes):
            self.problems.append(f"{path}: the value of {name} must begin with {', '.join(schemes)}")
        return value


def resolve(settings: Settings, environ: Mapping[str, str], *, config_path: Path | None, data_dir: Path) -> Loaded:
    """Raises ``ConfigError`` naming every variable that is needed and not set."""
    missing = _Missing(environ)
    on_redis = settings.queue.engine == "redis"
    redis_url = missing.url("redis.url", settings.redis.url, REDIS_SCHEMES) if on_redis else None
    nats_url = None if on_redis else missing.url("nats.url", settings.nats.url, NATS_SCHEMES)
    ledger_url = missing.url("ledger.url", settings.ledger.url, LEDGER_SCHEMES)
    objects = _objects(settings.objects, missing)
    api_keys = _api_keys(settings, missing)
    key_secret = _key_secret(settings, missing)
    providers = {
        name: _provider(name, provider, missing)
        for name, provider in settings.providers.items()
        if _in_use(provider, environ, settings.pools)
    }
    lambda_cloud = _lambda_cloud(settings.lambda_cloud, missing)
    fly_machines = _fly_machines(settings.fly_machines, missing)
    if missing.problems:
        raise ConfigError("\n".join(missing.problems), mend="set the variable, or change the reference in sophia.yaml")
    return Loaded(
        settings=with_effective_tasks(settings, usable_models(settings, providers)),
        config_path=config_path,
        data_dir=data_dir,
        redis_url=redis_url,
        nats_url=nats_url,
        ledger_url=ledger_url,
        objects=objects,
        api_keys=api_keys,
        key_secret=key_secret,
        providers=providers,
        lambda_cloud=lambda_cloud,
        fly_machines=fly_machines,
        host_credentials={
            name: value for name in settings.gpu_hosts.credentials if (value := environ.get(name, "").strip())
        },
    )


def _key_secret(settings: Settings, missing: _Missing) -> bytes | None:
    """Without one in a hosted profile each gateway would have its own: its data folder's."""
    ref = settings.auth.key_secret
    if ref is None:
        return None
    value = missing.environ.get(ref.env, "").strip()
    if value and len(value) < LEAST_SECRET:
        missing.problems.append(f"auth.key_secret: the value of {ref.env} has less than {LEAST_SECRET} characters")
    return value.encode("utf-8", "surrogateescape") or None


def _lambda_cloud(cloud: LambdaCloudSettings, missing: _Missing) -> ResolvedLambdaCloud | None:
    """Without a key no pool of that provider runs, which its status says; everything else works."""
    if not missing.environ.get(cloud.api_key.env, "").strip():
        return None
    return ResolvedLambdaCloud(
        settings=cloud,
        base_url=_cloud_url("lambda_cloud", cloud, missing),
        api_key=missing.secret(cloud.api_key, "lambda_cloud.api_key"),
    )


def _fly_machines(fly: FlyMachinesSettings, missing: _Missing) -> ResolvedFlyMachines | None:
    """Without a token no pool of that provider runs, which its status says; everything else works."""
    if not missing.environ.get(fly.api_token.env, "").strip():
        return None
    return ResolvedFlyMachines(
        settings=fly,
        base_url=_cloud_url("fly_machines", fly, missing),
        api_token=missing.secret(fly.api_token, "fly_machines.api_token"),
    )


def _cloud_url(section: str, cloud: LambdaCloudSettings | FlyMachinesSettings, missing: _Missing) -> str:
    replaced = missing.environ.get(cloud.base_url_env, "").strip() if cloud.base_url_env else ""
    base_url = (replaced or cloud.base_url).rstrip("/")
    if not base_url.startswith(("http://", "https://")):
        missing.problems.append(f"{section}: the value of {cloud.base_url_env} must begin with http:// or https://")
    return base_url


def _objects(objects: ObjectSettings, missing: _Missing) -> ResolvedObjects | None:
    url = missing.url("objects.url", objects.url, OBJECT_SCHEMES)
    if not url:
        return None
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    if not bucket:
        missing.problems.append("objects.url: names no bucket (s3://bucket/prefix)")
    secrets = []
    for name in ("access_key_id", "secret_access_key"):
        ref = getattr(objects, name)
        if ref is None:
            missing.problems.append(f"objects.{name}: is needed with a bucket")
        secrets.append("" if ref is None else missing.secret(ref, f"objects.{name}"))
    replaced = missing.environ.get(objects.endpoint_env, "").strip() if objects.endpoint_env else ""
    endpoint = (replaced or objects.endpoint or "").rstrip("/")
    if endpoint and not endpoint.startswith(("http://", "https://")):
        missing.problems.append(f"objects: the value of {objects.endpoint_env} must begin with http:// or https://")
    return ResolvedObjects(
        bucket=bucket,
        prefix=prefix.strip("/"),
        endpoint=endpoint or None,
        region=objects.region,
        access_key_id=secrets[0],
        secret_access_key=secrets[1],
    )


def _api_keys(settings: Settings, missing: _Missing) -> tuple[TenantKey, ...]:
    keys = [
        TenantKey(
            tenant=entry.tenant,
            key=missing.secret(entry.key, dotted(("auth", "api_keys", index, "key"))),
            operator=entry.operator,
        )
        for index, entry in enumerate(settings.auth.api_keys)
    ]
    own = missing.environ.get("SOPHIA_API_KEY", "").strip()
    if own and own not in {key.key for key in keys}:
        keys.append(TenantKey(tenant="default", key=own, operator=True))
    tenants: dict[str, str] = {}
    for key in keys:
        if key.key and tenants.setdefault(key.key, key.tenant) != key.tenant:
            missing.problems.append(f"auth.api_keys: tenants {tenants[key.key]!r} and {key.tenant!r} have the same key")
    return tuple(keys)


def _in_use(provider: ProviderSettings, environ: Mapping[str, str], pools: Mapping[str, PoolSpec]) -> bool:
    if provider.kind == "pool":
        pool = pools.get(provider.pool or "")
        if pool is None or not (pool.max > 0 or any(window.max > 0 for window in pool.windows)):
            return False
    if provider.kind in EMBEDDED_KINDS and not _base_url(provider, environ):
        return False
    return all(environ.get(name, "").strip() for name in provider.when_set)


def _base_url(provider: ProviderSettings, environ: Mapping[str, str]) -> str:
    replaced = environ.get(provider.base_url_env, "").strip() if provider.base_url_env else ""
    return (replaced or provider.base_url or "").rstrip("/")


def _provider(name: str, provider: ProviderSettings, missing: _Missing) -> ResolvedProvider:
    path = f"providers.{name}"
    base_url = _base_url(provider, missing.environ)
    if provider.kind == "pool":
        base_url = ""
    elif not base_url:
        missing.problems.append(f"{path}: the environment variable {provider.base_url_env} is not set")
    elif not base_url.startswith(("http://", "https://")):
        missing.problems.append(f"{path}: the value of {provider.base_url_env} must begin with http:// or https://")
    headers = {
        header: value if isinstance(value, str) else missing.secret(value, f"{path}.headers.{header}")
        for header, value in provider.headers.items()
    }
    if provider.api_key is not None:
        key = missing.secret(provider.api_key, f"{path}.api_key")
        headers |= {"x-api-key": key} if provider.kind == "anthropic" else {"Authorization": f"Bearer {key}"}
    if provider.kind == "anthropic":
        headers.setdefault("anthropic-version", ANTHROPIC_VERSION)
    return ResolvedProvider(name=name, settings=provider, base_url=base_url, headers=headers)


def usable_models(settings: Settings, providers: Mapping[str, ResolvedProvider]) -> frozenset[str]:
    """Models that can be served: by a provider in use, or by an embedded one, which may only not be up yet."""
    usable = set(providers) | {name for name, p in settings.providers.items() if p.kind in EMBEDDED_KINDS}
    return frozenset(name for name, model in settings.models.items() if usable & model.provider_names())


def model_of_tier(settings: Settings, usable: frozenset[str], kind: str, tier: Tier) -> str | None:
    """The model that a request without one gets, or ``None`` when none of that kind is usable."""
    for name, model in settings.models.items():
        if model.kind == kind and tier in model.tiers and name in usable:
            return name
    return None


def with_effective_tasks(settings: Settings, usable: frozenset[str]) -> Settings:
    """Default models that nobody serves give way to the tier's model."""
    return msgspec.structs.replace(
        settings,
        tasks={
            name: defaults if defaults.model in usable else msgspec.structs.replace(defaults, model=None)
            for name, defaults in settings.tasks.items()
        },
    )
