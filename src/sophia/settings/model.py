"""The shape of ``sophia.yaml``. Every key, its unit and its bounds; figures live in the packaged YAML files."""

from __future__ import annotations

from typing import Annotated

import msgspec

from sophia.nouns.budget import TenantBudget
from sophia.nouns.pool import PoolSpec
from sophia.nouns.submission import Submission
from sophia.nouns.task import Target, Tier
from sophia.settings.fields import CountFrom1, Name, NotNegative, Port, Positive, SecretRef, Section, UrlPath
from sophia.settings.inference import (
    CacheSettings,
    EmbeddingSettings,
    HandlerDefaults,
    LlamaSettings,
    ModelSettings,
    ProviderSettings,
    ResearchSettings,
)
from sophia.settings.machines import (
    FlyAppSettings,
    FlyMachinesSettings,
    FlySettings,
    GpuHostSettings,
    LambdaCloudSettings,
    PoolsSettings,
)


class ServerSettings(Section, frozen=True, kw_only=True):
    host: str
    port: Port
    websocket_port: Port | None = None
    """Default: ``port`` + 1."""
    metrics_port: Port
    max_body_bytes: CountFrom1
    shutdown_grace_s: Positive


class ApiKey(Section, frozen=True, kw_only=True):
    key: SecretRef
    tenant: Name
    operator: bool = False
    """May also see what belongs to no tenant, such as queue entries that could not be decoded."""


class AuthSettings(Section, frozen=True, kw_only=True):
    api_keys: tuple[ApiKey, ...]
    key_secret: SecretRef | None = None
    """Virtual keys are kept as HMACs under it, so every gateway needs the same one, and a new one voids all keys.
    ``null``: one that is made once and kept in the data folder."""


class RedisSettings(Section, frozen=True, kw_only=True):
    """``url: null`` starts the embedded server; ``redis://`` and ``rediss://`` URLs use one that is there."""

    url: SecretRef | None
    partitions: Annotated[int, msgspec.Meta(ge=1, le=1024)]


class NatsSettings(Section, frozen=True, kw_only=True):
    """In use with ``queue.engine: jetstream``. ``url: null`` starts the embedded server."""

    url: SecretRef | None
    replicas: Annotated[int, msgspec.Meta(ge=1, le=5)]
    """Servers of a cluster that keep the stream."""


class LedgerSettings(Section, frozen=True, kw_only=True):
    """``url: null`` is SQLite in the data folder; else a ``postgresql://`` URL."""

    url: SecretRef | None


class ObjectSettings(Section, frozen=True, kw_only=True):
    """Where large payloads and results are. ``url: null`` is a folder in the data folder, for one machine; else
    ``s3://bucket/prefix`` in S3, R2 or a server that speaks S3's protocol."""

    url: str | SecretRef | None
    endpoint: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s/@]+/?$")] | None = None
    """``null``: AWS. For R2: ``https://ACCOUNT_ID.r2.cloudflarestorage.com``, with region ``auto``."""
    endpoint_env: Annotated[str, msgspec.Meta(pattern=r"^[A-Z][A-Z0-9_]*$")] | None = None
    """Environment variable that, when set, replaces ``endpoint``."""
    region: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]+$")] = "auto"
    access_key_id: SecretRef | None = None
    secret_access_key: SecretRef | None = None
    inline_max_bytes: CountFrom1
    """Of JSON. What is larger goes to the object store, and the queue and the ledger carry a reference."""


class RetrySettings(Section, frozen=True, kw_only=True):
    max_attempts: CountFrom1
    base_s: Positive
    max_s: Positive


class QueueSettings(Section, frozen=True, kw_only=True):
    engine: Annotated[str, msgspec.Meta(pattern="^(redis|jetstream)$")]
    streams: tuple[Name, ...]
    lease_s: Positive
    heartbeat_s: Positive
    retry: RetrySettings
    idempotency_ttl_s: Positive
    result_ttl_s: Positive
    """How long the queue keeps a finished task; the ledger keeps it longer."""
    ledger_retention_days: Positive
    task_events_max: CountFrom1
    platform_events_max: CountFrom1
    fair_window: CountFrom1
    """Entries per stream and priority that are committed to their order; the rest waits per tenant."""
    age_boost_s: Positive
    """A task that waited longer is served before younger ones of higher priority (every second lease)."""
    tenant_max_running: CountFrom1 | None
    """Tasks of one tenant that run at once; ``null``: no cap. ``tenants`` can say otherwise for each."""
    type_max_running: dict[str, CountFrom1] = msgspec.field(default_factory=dict)
    """Tasks of one type that run at once, over all tenants."""
    max_batch: CountFrom1
    """Tasks in one batch submission."""


class RouteRule(Section, frozen=True, kw_only=True):
    """One row of the routing table; all given conditions must hold, and the first row that holds wins."""

    stream: Name
    target: Target
    types: tuple[str, ...] = ()
    tiers: tuple[Tier, ...] = ()
    min_tokens: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Holds when the estimated tokens are above this."""
    min_texts: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Holds when there are more texts than this."""


class LimitSettings(Section, frozen=True, kw_only=True):
    """Of a virtual key that names none of its own. Keys of ``auth.api_keys`` have none."""

    requests_per_minute: CountFrom1
    burst: CountFrom1


class WebSocketSettings(Section, frozen=True, kw_only=True):
    ping_interval_s: Positive
    pong_timeout_s: Positive
    """A client that has not answered a ping by then is disconnected."""
    max_connections_per_ip: CountFrom1
    max_connections: CountFrom1


class MetricsSettings(Section, frozen=True, kw_only=True):
    path: UrlPath
    scrape_interval_s: Positive


class TenantSettings(Section, frozen=True, kw_only=True):
    budget: TenantBudget = TenantBudget()
    cache: bool = True
    """Whether answers of models to this tenant may be kept (see ``caches``)."""
    max_running: CountFrom1 | None = None


class ScheduleSettings(Section, frozen=True, kw_only=True):
    """A task submitted again and again. Each occurrence is submitted once, whichever router leads."""

    cron: str
    """Minute, hour, day of month, month, day of week, as cron has them; with six fields the first is the second."""
    time_zone: str = "UTC"
    """A job at a fixed time that daylight saving skips comes right after the gap; one that comes twice runs once."""
    tenant: Name = "default"
    task: Submission
    """As in ``POST /v1/tasks``, without ``run_at`` and ``deadline_at``."""
    enabled: bool = True
    catch_up: Annotated[int, msgspec.Meta(ge=0, le=100)] = 1
    """Of the occurrences missed while no router ran, that many of the latest are made up for."""


class BatchSettings(Section, frozen=True, kw_only=True):
    """Files and batches of OpenAI's API. Batches are carried out in chunks of lines, one task each."""

    price_factor: Annotated[float, msgspec.Meta(ge=0, le=1)]
    """What a batch's requests cost, as a share of the models' prices."""
    window_s: Positive
    """How long ``completion_window: 24h`` is."""
    max_file_bytes: CountFrom1
    max_requests: CountFrom1
    """Lines of one batch."""
    max_line_bytes: CountFrom1
    keep_days: Positive
    """How long files are kept that do not say ``expires_after``."""
    chunk_requests: CountFrom1
    chunk_bytes: CountFrom1
    """A chunk ends at whichever of the two is reached first."""
    concurrency: CountFrom1
    """Requests of one chunk under way at once."""


class CostSettings(Section, frozen=True, kw_only=True):
    """Founding estimates, used where no real price is known."""

    gpu_usd_per_hour: NotNegative
    fly_machine_usd_per_month: NotNegative
    embedding_usd_per_1k_tokens: NotNegative
    inference_usd_per_1k_tokens: NotNegative


class Settings(Section, frozen=True, kw_only=True):
    """The whole file after profile, file and environment have been merged."""

    profile: Annotated[str, msgspec.Meta(pattern="^(local|hosted|emulated)$")]
    server: ServerSettings
    websocket: WebSocketSettings
    metrics: MetricsSettings
    auth: AuthSettings
    redis: RedisSettings
    nats: NatsSettings
    ledger: LedgerSettings
    objects: ObjectSettings
    queue: QueueSettings
    routes: tuple[RouteRule, ...]
    providers: dict[Name, ProviderSettings]
    models: dict[str, ModelSettings]
    tasks: dict[str, HandlerDefaults]
    embedding: EmbeddingSettings
    llama: LlamaSettings
    research: ResearchSettings
    caches: CacheSettings
    limits: LimitSettings
    pools_loop: PoolsSettings
    pools: dict[Name, PoolSpec]
    lambda_cloud: LambdaCloudSettings
    fly_machines: FlyMachinesSettings
    gpu_hosts: GpuHostSettings
    fly: FlySettings
    fly_apps: dict[Name, FlyAppSettings]
    costs: CostSettings
    batches: BatchSettings
    tenants: dict[Name, TenantSettings] = msgspec.field(default_factory=dict)
    """Caps of single tenants; a tenant that is not listed has none."""
    schedules: dict[Name, ScheduleSettings] = msgspec.field(default_factory=dict)
