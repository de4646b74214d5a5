"""The hosted profile holds the figures that the product is built on."""

from __future__ import annotations

import pytest

from sophia.settings.load import merged_settings


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("empty"))
        return merged_settings(None, {}, "hosted")


@pytest.mark.parametrize(
    ("app", "regions", "machines", "cpus", "memory_mb"),
    [
        ("sophia-orchestrator", "sjc iad fra", (2, 5), 2, 4096),
        ("agent-factory-api", "sjc iad fra", (3, 10), 1, 2048),
        ("control-tower-ui", "sjc iad", (2, 4), 1, 1024),
        ("websocket-server", "sjc iad fra", (2, 6), 1, 2048),
        ("cpu-workers", "sjc", (0, 20), 2, 4096),
        ("memory-proxy", "sjc iad", (2, 4), 1, 2048),
        ("job-router", "sjc", (2, 2), 1, 1024),
    ],
)
def test_fly_apps(settings, app, regions, machines, cpus, memory_mb):
    spec = settings.fly_apps[app]
    assert spec.regions == tuple(regions.split())
    assert (spec.min_machines, spec.max_machines) == machines
    assert (spec.size.cpus, spec.size.memory_mb) == (cpus, memory_mb)


def test_fly_in_common(settings):
    fly = settings.fly
    assert (fly.primary_region, fly.fallback_regions) == ("sjc", ("iad", "fra"))
    assert (fly.kill_signal, fly.kill_timeout_s, fly.max_unavailable, fly.rollout_wait_s) == ("SIGTERM", 30, 1, 300)
    check = fly.health_check
    assert (check.path, check.interval_s, check.timeout_s, check.grace_s) == ("/health", 10, 2, 30)
    assert (fly.internal_port, fly.public_port, fly.alpn) == (8080, 443, ("h2", "http/1.1"))
    api = settings.fly_apps["agent-factory-api"]
    assert (api.concurrency.soft, api.concurrency.hard, api.target_cpu_percent) == (80, 100, 70)
    socket = settings.fly_apps["websocket-server"]
    assert (socket.concurrency.soft, socket.concurrency.hard, socket.sticky_sessions) == (8000, 10000, True)
    assert settings.websocket.max_connections_per_ip == 100
    assert (settings.websocket.ping_interval_s, settings.websocket.pong_timeout_s) == (30, 10)
    assert (settings.server.metrics_port, settings.metrics.path, settings.metrics.scrape_interval_s) == (
        9091,
        "/metrics",
        15,
    )


@pytest.mark.parametrize(
    ("pool", "instance_type", "low", "high", "idle"),
    [
        ("inference", "gpu_1x_h100_pcie", 1, 10, 600),
        ("vllm", "gpu_1x_a100_sxm4", 1, 5, None),
        ("embedding", "gpu_1x_a6000", 0, 3, 300),
    ],
)
def test_gpu_pools(settings, pool, instance_type, low, high, idle):
    spec = settings.pools[pool]
    assert spec.provider == "lambda"
    assert spec.instance_types == (instance_type,)
    assert (spec.min, spec.max, spec.idle_timeout_s) == (low, high, idle)


def test_schedule_windows(settings):
    business, otherwise = settings.pools["inference"].windows
    assert business.days == ("mon", "tue", "wed", "thu", "fri")
    assert (business.start, business.end, business.time_zone) == ("09:00", "18:00", "America/Los_Angeles")
    assert (business.min, business.max, otherwise.min, otherwise.max) == (2, 10, 0, 3)
    assert business.lead_s > 0


def test_routing_table_in_order(settings):
    rows = [
        (r.types, tuple(map(str, r.tiers)), r.min_tokens, r.min_texts, r.stream, str(r.target)) for r in settings.routes
    ]
    assert rows == [
        (("long_planning",), (), None, None, "planning", "gpu"),
        ((), ("quality",), None, None, "planning", "gpu"),
        (("code_generation",), (), 4000, None, "coding", "gpu"),
        (("batch_embedding",), (), None, 100, "embedding", "gpu"),
        (("web_research",), (), None, None, "research", "cpu"),
        (("openai_batch",), (), None, None, "batch", "cpu"),
        ((), (), None, None, "light", "cpu"),
    ]


def test_caches_limits_costs_and_models(settings):
    caches = settings.caches
    assert (caches.embeddings_ttl_s, caches.search_ttl_s, caches.inference_ttl_s) == (86400, 300, 3600)
    assert (settings.limits.requests_per_minute, settings.limits.burst) == (100, 200)
    costs = settings.costs
    assert (costs.gpu_usd_per_hour, costs.fly_machine_usd_per_month) == (2.0, 10.0)
    assert (costs.embedding_usd_per_1k_tokens, costs.inference_usd_per_1k_tokens) == (0.00002, 0.001)
    planning = settings.tasks["long_planning"]
    assert (planning.model, planning.max_tokens, planning.temperature) == ("gpt-5", 8000, 0.2)
    assert next(iter(settings.models["gpt-5"].providers)) == "portkey"
    assert settings.models["bge-large-en-v1.5"].dimensions == 1024
    assert settings.embedding.batch_texts == 256
    assert settings.gpu_hosts.image == "ghcr.io/sophia-intel/gpu-runner"
