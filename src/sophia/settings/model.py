"""The shape of ``sophia.yaml``. Every key, its unit and its bounds; figures live in the packaged YAML files."""

from __future__ import annotations

from typing import Annotated

import msgspec

from sophia.nouns.budget import TenantBudget
from sophia.nouns.pool import PoolSpec
from sophia.nouns.serving import Serving
from sophia.nouns.submission import Submission
from sophia.nouns.task import Target, Tier


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every section: keys that are not listed are an error."""


Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
CountFrom1 = Annotated[int, msgspec.Meta(ge=1)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]


Region = Annotated[str, msgspec.Meta(pattern=r"^[a-z]{3}$")]
UrlPath = Annotated[str, msgspec.Meta(pattern=r"^/[^\s]*$")]


class SecretRef(Section, frozen=True, kw_only=True):
    """A secret by the name of the environment variable that holds it; the file itself never holds one."""

    env: Annotated[str, msgspec.Meta(pattern=r"^[A-Z][A-Z0-9_]*$")]


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
    type_max_running: dict[str, CountFrom1] = {}
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


class ProviderSettings(Section, frozen=True, kw_only=True):
    """A source of models. ``kind``: ``openai`` (any OpenAI-compatible URL), ``portkey``, ``llama_embedded``
    and ``onnx_embedded`` (servers that ``sophia up`` starts)."""

    kind: Annotated[str, msgspec.Meta(pattern="^(openai|portkey|llama_embedded|onnx_embedded)$")]
    base_url: str | None = None
    base_url_env: Annotated[str, msgspec.Meta(pattern=r"^[A-Z][A-Z0-9_]*$")] | None = None
    """Environment variable that, when set, replaces ``base_url``."""
    api_key: SecretRef | None = None
    headers: dict[str, str | SecretRef] = {}
    when_set: tuple[str, ...] = ()
    """Used only when all these environment variables are set."""
    connect_timeout_s: Positive = 5.0
    first_token_timeout_s: Positive = 120.0
    idle_timeout_s: Positive = 60.0
    """Longest silence within a streamed answer."""
    answer_timeout_s: Positive = 600.0
    """An answer that is not streamed must be there by then; its first byte comes with its last."""
    max_concurrency: CountFrom1 = 64


class ModelSettings(Section, frozen=True, kw_only=True):
    """A model by the name that users give. The first of ``providers`` that is in use serves it."""

    kind: Annotated[str, msgspec.Meta(pattern="^(chat|embedding)$")]
    providers: dict[str, str]
    """Provider name -> the name it knows the model by, in order of preference."""
    tiers: tuple[Tier, ...] = ()
    """Tiers that use this model when a request names none. Of several, the first in the file's order that a provider
    in use serves; models that only ``sophia.yaml`` has come before the packaged ones."""
    context_tokens: CountFrom1 | None = None
    max_output_tokens: CountFrom1 | None = None
    """Caps ``tasks.*.max_tokens`` where a payload names no number of its own: a small model loops when let run."""
    outline_first: bool = False
    """Plans are drafted as a list in words first: a very small model writes far better ones than under a schema."""
    dimensions: CountFrom1 | None = None
    usd_per_1k_input_tokens: NotNegative = 0.0
    usd_per_1k_output_tokens: NotNegative = 0.0
    serving: Serving | None = None
    """How GPU hosts of ours serve it. Without it nothing but its name is known to the fit check."""


class HandlerDefaults(Section, frozen=True, kw_only=True):
    """Per task type: what a payload that is silent gets."""

    model: str | None = None
    """Gives way to the tier's model while no provider in use serves it."""
    max_tokens: CountFrom1
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)]
    timeout_s: Positive


class EmbeddingSettings(Section, frozen=True, kw_only=True):
    batch_texts: CountFrom1
    max_tokens: CountFrom1
    """Longer texts are cut here: the model's own length."""
    threads: CountFrom1
    max_texts: CountFrom1


class LlamaSettings(Section, frozen=True, kw_only=True):
    """The embedded llama.cpp server."""

    context_tokens: CountFrom1
    """Of each of the ``parallel`` slots."""
    parallel: CountFrom1
    threads: CountFrom1


class ResearchSettings(Section, frozen=True, kw_only=True):
    """Limits on what ``web_research`` fetches."""

    fetch_timeout_s: Positive
    max_page_bytes: CountFrom1
    max_redirects: Annotated[int, msgspec.Meta(ge=0)]
    concurrency: CountFrom1
    source_characters: CountFrom1
    """Readable text kept of each source."""
    allow_private_addresses: bool
    """Whether URLs may lead to loopback and private networks."""
    user_agent: str


class CacheSettings(Section, frozen=True, kw_only=True):
    embeddings_ttl_s: Positive
    search_ttl_s: Positive
    inference_ttl_s: Positive


class LimitSettings(Section, frozen=True, kw_only=True):
    requests_per_minute: CountFrom1
    burst: CountFrom1


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
    environment: dict[str, str] = {}
    """Of the machines; never secrets, which are the app's own on Fly (`fly secrets set`)."""
    timeout_s: Positive


class WebSocketSettings(Section, frozen=True, kw_only=True):
    ping_interval_s: Positive
    pong_timeout_s: Positive
    """A client that has not answered a ping by then is disconnected."""
    max_connections_per_ip: CountFrom1
    max_connections: CountFrom1


class MetricsSettings(Section, frozen=True, kw_only=True):
    path: UrlPath
    scrape_interval_s: Positive


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
    presets: dict[Name, MachineSize] = {}
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


class TenantSettings(Section, frozen=True, kw_only=True):
    budget: TenantBudget = TenantBudget()
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
    tenants: dict[Name, TenantSettings] = {}
    """Caps of single tenants; a tenant that is not listed has none."""
    schedules: dict[Name, ScheduleSettings] = {}
