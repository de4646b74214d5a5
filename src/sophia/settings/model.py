"""The shape of ``sophia.yaml``. Every key, its unit and its bounds; figures live in the packaged YAML files."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from sophia.nouns.pool import PoolSpec
from sophia.nouns.task import Target, Tier


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every section: keys that are not listed are an error."""


Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
CountFrom1 = Annotated[int, msgspec.Meta(ge=1)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]


class SecretRef(Section, kw_only=True):
    """A secret by the name of the environment variable that holds it; the file itself never holds one."""

    env: Annotated[str, msgspec.Meta(pattern=r"^[A-Z][A-Z0-9_]*$")]


class ServerSettings(Section, kw_only=True):
    host: str
    port: Port
    websocket_port: Port | None = None
    """Default: ``port`` + 1."""
    metrics_port: Port
    max_body_bytes: CountFrom1
    shutdown_grace_s: Positive


class ApiKey(Section, kw_only=True):
    key: SecretRef
    tenant: Name


class AuthSettings(Section, kw_only=True):
    api_keys: tuple[ApiKey, ...]


class RedisSettings(Section, kw_only=True):
    """``url: null`` starts the embedded server; ``redis://`` and ``rediss://`` URLs use one that is there."""

    url: SecretRef | None
    partitions: Annotated[int, msgspec.Meta(ge=1, le=1024)]


class LedgerSettings(Section, kw_only=True):
    """``url: null`` is SQLite in the data folder; else a ``postgresql://`` URL."""

    url: SecretRef | None


class RetrySettings(Section, kw_only=True):
    max_attempts: CountFrom1
    base_s: Positive
    max_s: Positive


class QueueSettings(Section, kw_only=True):
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
    max_batch: CountFrom1
    """Tasks in one batch submission."""


class RouteRule(Section, kw_only=True):
    """One row of the routing table; all given conditions must hold, and the first row that holds wins."""

    stream: Name
    target: Target
    types: tuple[str, ...] = ()
    tiers: tuple[Tier, ...] = ()
    min_tokens: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Holds when the estimated tokens are above this."""
    min_texts: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Holds when there are more texts than this."""


class ProviderSettings(Section, kw_only=True):
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
    max_concurrency: CountFrom1 = 64


class ModelSettings(Section, kw_only=True):
    """A model by the name that users give. The first of ``providers`` that is in use serves it."""

    kind: Annotated[str, msgspec.Meta(pattern="^(chat|embedding)$")]
    providers: dict[str, str]
    """Provider name -> the name it knows the model by, in order of preference."""
    tiers: tuple[Tier, ...] = ()
    """Tiers that use this model when a request names none."""
    context_tokens: CountFrom1 | None = None
    dimensions: CountFrom1 | None = None
    usd_per_1k_input_tokens: NotNegative = 0.0
    usd_per_1k_output_tokens: NotNegative = 0.0


class HandlerDefaults(Section, kw_only=True):
    """Per task type: what a payload that is silent gets."""

    model: str | None = None
    max_tokens: CountFrom1
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)]
    timeout_s: Positive


class EmbeddingSettings(Section, kw_only=True):
    batch_texts: CountFrom1
    max_tokens: CountFrom1
    threads: CountFrom1
    max_texts: CountFrom1


class LlamaSettings(Section, kw_only=True):
    """The embedded llama.cpp server."""

    context_tokens: CountFrom1
    parallel: CountFrom1
    threads: CountFrom1


class ResearchSettings(Section, kw_only=True):
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


class CacheSettings(Section, kw_only=True):
    embeddings_ttl_s: Positive
    search_ttl_s: Positive
    inference_ttl_s: Positive


class LimitSettings(Section, kw_only=True):
    requests_per_minute: CountFrom1
    burst: CountFrom1


class PoolsSettings(Section, kw_only=True):
    tick_s: Positive
    history_s: Positive
    """How long terminated instances stay listed."""


class FlyAppSettings(Section, kw_only=True):
    app: Name
    regions: tuple[str, ...]
    min_machines: Annotated[int, msgspec.Meta(ge=0)]
    max_machines: CountFrom1
    cpus: CountFrom1
    memory_mb: CountFrom1
    scaling: str = ""


class CostSettings(Section, kw_only=True):
    """Founding estimates, used where no real price is known."""

    gpu_usd_per_hour: NotNegative
    fly_machine_usd_per_month: NotNegative
    embedding_usd_per_1k_tokens: NotNegative
    inference_usd_per_1k_tokens: NotNegative


class Settings(Section, kw_only=True):
    """The whole file after profile, file and environment have been merged."""

    profile: Annotated[str, msgspec.Meta(pattern="^(local|hosted)$")]
    server: ServerSettings
    auth: AuthSettings
    redis: RedisSettings
    ledger: LedgerSettings
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
    fly_apps: dict[str, FlyAppSettings]
    costs: CostSettings


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of ``sophia.yaml``."""
    return msgspec.json.schema(Settings)
