"""Set-up documents of GPU hosts, and the store of their join tokens."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from sophia.decisions.fit import needs_of_pool, place
from sophia.decisions.model_shapes import GPU_TYPES
from sophia.hosts.base import Joining, JoinTokens
from sophia.hosts.cloud_init import HostPlan, ServedModel, user_data
from sophia.nouns.pool import PoolSpec
from sophia.providers.base import LaunchRequest
from sophia.settings.loaded import Loaded


@contextlib.asynccontextmanager
async def join_tokens(loaded: Loaded) -> AsyncIterator[JoinTokens | None]:
    """``None`` where there is no Redis to keep them."""
    if loaded.redis_url is None:
        yield None
        return
    from sophia.hosts.tokens import RedisJoinTokens
    from sophia.redis.connection import connect_any

    client = connect_any(loaded.redis_url)
    try:
        yield RedisJoinTokens(client)
    finally:
        await client.aclose()


def host_documents(loaded: Loaded) -> Callable[[LaunchRequest], Awaitable[str]] | None:
    """Each with a token of its own; ``None`` where hosts have nowhere to join."""
    hosts = loaded.settings.gpu_hosts
    join_url = hosts.join_url
    if join_url is None or loaded.redis_url is None:
        return None

    async def document(request: LaunchRequest) -> str:
        joining = Joining(instance_id=request.instance_id, pool=request.pool)
        async with join_tokens(loaded) as tokens:
            if tokens is None:
                raise RuntimeError("there is a Redis, so there is a store of tokens")
            token = await tokens.issue(joining, hosts.join_ttl_s)
        gpu = GPU_TYPES.get(request.offer.instance_type)
        plan = HostPlan(
            instance_id=request.instance_id,
            pool=request.pool,
            join_url=join_url,
            join_token=token,
            image=hosts.image,
            gpus=gpu.count if gpu else 0,
            lease_s=hosts.lease_s,
            drain_s=request.spec.drain_timeout_s,
            restart_s=hosts.restart_s,
            models=served_models(loaded, request.spec, request.offer.instance_type),
        )
        return user_data(plan)

    return document


def served_models(loaded: Loaded, spec: PoolSpec, instance_type: str) -> list[ServedModel]:
    """The pool's models that vLLM serves there, with what the fit check gives each of them."""
    models = loaded.settings.models
    needs = [need for need in needs_of_pool(models, spec) if need.shape.kv_heads]
    if not needs or instance_type not in GPU_TYPES:
        return []
    found = []
    for fit in place(needs, instance_type):
        settings = models.get(fit.model)
        if settings is not None and settings.serving is not None:
            found.append(ServedModel(fit, settings.serving.repository))
    return found
