"""``python -m soak.pools_child REDIS_URL FOLDER CLOUD_URL KEY MAX``: a pool manager in a process of its own, to be killed.

Its pool wants three machines at all times (with MAX 0: none), and no worker ever joins on one, so that machines are
launched and given up without an end.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec

from sophia.events.redis import RedisEventLog
from sophia.nouns.clock import SystemClock
from sophia.nouns.pool import PoolSpec
from sophia.pools.manager import PoolManager
from sophia.providers.lambda_cloud import AiohttpTransport, LambdaClient, LambdaProvider
from sophia.queue.redis import QueueOptions, RedisTaskQueue, RedisUpkeep
from sophia.redis.connection import connect
from sophia.settings.load import load
from sophia.store.sql import open_ledger

OPTIONS = QueueOptions(streams=("embedding",), lease_s=2.0)
BOOT_TIMEOUT_S = 1.5


def pool(most: int) -> PoolSpec:
    return PoolSpec(
        provider="lambda",
        streams=("embedding",),
        instance_types=("gpu_1x_a6000", "gpu_1x_a10"),
        min=most,
        max=most,
        idle_timeout_s=1.0,
        slots=1,
        boot_timeout_s=BOOT_TIMEOUT_S,
        drain_timeout_s=1.0,
    )


async def run(redis_url: str, folder: Path, cloud_url: str, key: str, most: int) -> None:
    clock = SystemClock()
    client, blocking = connect(redis_url), connect(redis_url, reply_timeout_s=70)
    ledger = open_ledger(None, folder)
    await ledger.migrate()
    packaged = load(None, folder, {}, "local").settings
    loop = msgspec.structs.replace(packaged.pools_loop, tick_s=0.2, reap_every_s=4.0)
    settings = msgspec.structs.replace(packaged, pools={"embedding": pool(most)}, pools_loop=loop)
    transport = AiohttpTransport(cloud_url, key, 5.0)
    provider = LambdaProvider(
        LambdaClient(transport, clock, request_every_s=0.02, launch_every_s=0.05), clock, owner="soak"
    )
    manager = PoolManager(
        settings,
        {"lambda": provider},
        RedisTaskQueue(client, OPTIONS),
        RedisUpkeep(client, blocking, OPTIONS),
        RedisEventLog(client, blocking, OPTIONS),
        ledger,
        clock,
    )
    await manager.run()


if __name__ == "__main__":
    url, folder, cloud_url, key, most = sys.argv[1:]
    asyncio.run(run(url, Path(folder), cloud_url, key, int(most)))
