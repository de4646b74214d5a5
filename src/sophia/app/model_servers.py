"""The servers of a GPU host's models, from settings: one for each model of its pool, announced where gateways look."""

from __future__ import annotations

import asyncio
import shlex
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY

from sophia.app.gpu_hosts import served_models
from sophia.decisions.fit import refusal
from sophia.decisions.model_shapes import GPU_TYPES
from sophia.hosts.cloud_init import VLLM_PORT, ServedModel
from sophia.hosts.gpu_metrics import register_gpu_metrics
from sophia.hosts.model_server import ModelServer, Paces, ServedCommand
from sophia.hosts.server_metrics import ServerMetrics
from sophia.hosts.vllm import vllm_arguments
from sophia.nouns.endpoint import Endpoint
from sophia.nouns.errors import ConfigError
from sophia.nouns.pool import PoolSpec
from sophia.settings.loaded import Loaded

API_KEY_VARIABLE = "VLLM_API_KEY"


async def run_vllm(loaded: Loaded, options: Mapping[str, Any], stop: asyncio.Event) -> None:
    """Serve the models of pool ``options["pool"]`` until ``stop`` is set and all of them have drained."""
    from sophia.inference.registry_redis import RedisEndpointRegistry
    from sophia.redis.connection import connect_any

    if loaded.redis_url is None:
        raise ConfigError("model servers are announced in Redis", field="redis.url", mend="set SOPHIA_REDIS_URL")
    spec = _pool(loaded, options["pool"])
    models = _fitting(loaded, spec, options.get("gpu"))
    first_port = options.get("port") or VLLM_PORT
    client = connect_any(loaded.redis_url)
    metrics = ServerMetrics()
    REGISTRY.register(metrics)
    register_gpu_metrics(REGISTRY)
    try:
        registry = RedisEndpointRegistry(client)
        async with asyncio.TaskGroup() as group:
            for number, model in enumerate(models):
                served, endpoint = _server(loaded, options, model, first_port + number)
                paces = Paces(drain_s=spec.drain_timeout_s)
                group.create_task(ModelServer(served, endpoint, registry, metrics, paces).run(stop))
    finally:
        REGISTRY.unregister(metrics)
        await client.aclose()


def _pool(loaded: Loaded, name: str) -> PoolSpec:
    spec = loaded.settings.pools.get(name)
    if spec is None:
        raise ConfigError(
            f"there is no pool {name!r}", field="--pool", mend=f"one of {', '.join(sorted(loaded.settings.pools))}"
        )
    return spec


def _fitting(loaded: Loaded, spec: PoolSpec, gpu: str | None) -> Sequence[ServedModel]:
    gpu = gpu or next((each for each in spec.instance_types if each in GPU_TYPES), None)
    if gpu is None or gpu not in GPU_TYPES:
        raise ConfigError(f"{gpu!r} is no GPU type known here", field="--gpu", mend=f"one of {', '.join(GPU_TYPES)}")
    words = refusal(loaded.settings.models, spec, gpu)
    if words is not None:
        raise ConfigError(words, field="--gpu")
    models = served_models(loaded, spec, gpu)
    if not models:
        raise ConfigError("the pool lists no model with `serving` in the settings", field="--pool")
    return models


def _server(
    loaded: Loaded, options: Mapping[str, Any], model: ServedModel, port: int
) -> tuple[ServedCommand, Endpoint]:
    environment: Mapping[str, str] = options["environment"]
    instance = options.get("id") or socket.gethostname()
    arguments = vllm_arguments(model.fit, model.repository, host=options.get("host") or "127.0.0.1", port=port)
    logs: Path = loaded.data_dir / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    served = ServedCommand(
        command=[*shlex.split(options.get("command") or "vllm"), *arguments],
        environment=environment,
        root_url=f"http://127.0.0.1:{port}",
        log=logs / f"vllm-{model.fit.model}.log",
        api_key=environment.get(API_KEY_VARIABLE),
    )
    endpoint = Endpoint(
        id=f"{instance}/{model.fit.model}",
        model=model.fit.model,
        url=f"http://{options.get('advertise') or '127.0.0.1'}:{port}/v1",
        pool=options["pool"],
        instance=instance,
    )
    return served, endpoint
