"""Fixtures for every test. Each comes from the module of `tests.support` that is named here."""

from __future__ import annotations

from hypothesis import settings

from tests.support.cli import scripted_platform
from tests.support.clusters import cluster_server, own_cluster, redis_cluster_url
from tests.support.gateways import api, platform
from tests.support.ledgers import ledger, ledger_place, second_ledger
from tests.support.models import chat_models, chat_server_url, embedding_cache, embedding_server_url, models
from tests.support.nats import bus, nats_server_url, own_nats
from tests.support.objects import bucket_server, megabyte_disk, object_place, object_store
from tests.support.platform import own_platform, running_platform
from tests.support.postgres import own_postgres, postgres_server, postgres_url
from tests.support.servers import (
    blocking_client,
    own_redis,
    redis_6_2_url,
    redis_8_url,
    redis_client,
    redis_server_url,
    redis_url,
)

# A machine that does other work too makes single examples slow; pytest-timeout and the run as a whole are the bound.
settings.register_profile("sophia", deadline=None)
settings.load_profile("sophia")

__all__ = [
    "api",
    "blocking_client",
    "bucket_server",
    "bus",
    "chat_models",
    "chat_server_url",
    "cluster_server",
    "embedding_cache",
    "embedding_server_url",
    "ledger",
    "ledger_place",
    "megabyte_disk",
    "models",
    "nats_server_url",
    "object_place",
    "object_store",
    "own_cluster",
    "own_nats",
    "own_platform",
    "own_postgres",
    "own_redis",
    "platform",
    "postgres_server",
    "postgres_url",
    "redis_6_2_url",
    "redis_8_url",
    "redis_client",
    "redis_cluster_url",
    "redis_server_url",
    "redis_url",
    "running_platform",
    "scripted_platform",
    "second_ledger",
]
