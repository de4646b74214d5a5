"""Sections about models: who serves them, what they cost, and the defaults of the task types that ask them."""

from __future__ import annotations

from typing import Annotated

import msgspec

from sophia.nouns.serving import Serving
from sophia.nouns.task import Tier
from sophia.settings.deployments import BreakerSettings, DeploymentSettings, FallbackSettings
from sophia.settings.fields import CountFrom1, Name, NotNegative, Positive, SecretRef, Section


class ProviderSettings(Section, frozen=True, kw_only=True):
    """A source of models. ``kind``: ``openai`` (any OpenAI-compatible URL), ``anthropic`` (its own API, translated),
    ``portkey``, ``pool`` (servers of ours that a pool's instances announce), ``llama_embedded`` and ``onnx_embedded``
    (servers that ``sophia up`` starts)."""

    kind: Annotated[str, msgspec.Meta(pattern="^(openai|anthropic|portkey|pool|llama_embedded|onnx_embedded)$")]
    pool: Name | None = None
    """With kind ``pool``: whose servers. Its ``scaling.when_cold.wait_s`` is how long a call is held while none is ready."""
    base_url: str | None = None
    base_url_env: Annotated[str, msgspec.Meta(pattern=r"^[A-Z][A-Z0-9_]*$")] | None = None
    """Environment variable that, when set, replaces ``base_url``."""
    api_key: SecretRef | None = None
    headers: dict[str, str | SecretRef] = msgspec.field(default_factory=dict)
    when_set: tuple[str, ...] = ()
    """Used only when all these environment variables are set."""
    connect_timeout_s: Positive = 5.0
    first_token_timeout_s: Positive = 120.0
    idle_timeout_s: Positive = 60.0
    """Longest silence within a streamed answer."""
    answer_timeout_s: Positive = 600.0
    """An answer that is not streamed must be there by then; its first byte comes with its last."""
    max_concurrency: CountFrom1 = 64
    max_tokens: CountFrom1 | None = None
    """Of an answer where the request names no number; for ``anthropic``, which demands one."""
    breaker: BreakerSettings = BreakerSettings()


class ModelSettings(Section, frozen=True, kw_only=True):
    """A model by the name that users give. The first of ``providers`` that is in use serves it; the others stand in."""

    kind: Annotated[str, msgspec.Meta(pattern="^(chat|embedding)$")]
    providers: dict[str, str | DeploymentSettings]
    """Provider name -> the name it knows the model by, in order of preference; or a mapping that says more."""
    fallback: FallbackSettings = FallbackSettings()
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

    def deployments(self) -> dict[str, DeploymentSettings]:
        """``providers`` with everything said: each with its provider and its order."""
        found = {}
        for place, (name, given) in enumerate(self.providers.items()):
            deployment = DeploymentSettings(model=given) if isinstance(given, str) else given
            found[name] = msgspec.structs.replace(
                deployment,
                provider=deployment.provider or name,
                order=place if deployment.order is None else deployment.order,
            )
        return found

    def provider_names(self) -> frozenset[str]:
        return frozenset(deployment.provider or name for name, deployment in self.deployments().items())


class HandlerDefaults(Section, frozen=True, kw_only=True):
    """Per task type: what a payload that is silent gets."""

    model: str | None = None
    """Gives way to the tier's model while no provider in use serves it."""
    max_tokens: CountFrom1
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)]
    timeout_s: Positive


class EmbeddingSettings(Section, frozen=True, kw_only=True):
    batch_texts: CountFrom1
    """Of one call of a task; what waits of all calls goes through the model in batches of ``batch_tokens``."""
    max_tokens: CountFrom1
    """Longer texts are cut here, or at the model's own length where that is less."""
    over_long: Annotated[str, msgspec.Meta(pattern="^(truncate|refuse)$")]
    """What models in our processes do with longer texts. Those that are cut are counted in the answer."""
    folder: str | None
    """Of a model as sentence-transformers saves it, for the provider ``onnx_embedded``; ``null``: the packaged one."""
    engine: Annotated[str, msgspec.Meta(pattern="^(onnx|torch)$")]
    """``torch`` (``sophia[torch]``) is for GPUs; of what follows it heeds ``batch_tokens`` and ``max_wait_ms``."""
    weights: Annotated[str, msgspec.Meta(pattern="^(float|int8)$")]
    """``int8``: faster by half and a little less exact; vectors of the two do not belong in one index."""
    threads: CountFrom1
    """Batches that run at once, each on one core."""
    batch_tokens: CountFrom1 | None
    """Of one pass through the model, padding included; ``null``: 512 on a CPU, 16,384 on a GPU."""
    max_wait_ms: Positive
    """How long a text waits for company."""
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
    """Answers to model calls that are kept in Redis, for each tenant apart."""

    chat: Annotated[str, msgspec.Meta(pattern="^(off|explicit|deterministic)$")]
    """Which chat answers are kept: those of requests with ``Cache-Control: max-age`` (``explicit``), and of those with a
    temperature of 0 or a seed too (``deterministic``)."""
    embeddings: bool
    max_bytes: CountFrom1
    """Of all tenants together."""
    max_entry_bytes: CountFrom1
    wait_s: Positive
    """How long a request waits for another one that is the same."""
    embeddings_ttl_s: Positive
    search_ttl_s: Positive
    inference_ttl_s: Positive
