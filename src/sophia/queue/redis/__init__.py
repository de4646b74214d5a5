"""The queue on Redis Streams (Redis 6.2 and later, Valkey, Upstash)."""

from sophia.queue.redis.producer import RedisTaskQueue
from sophia.queue.redis.shared import QueueOptions
from sophia.queue.redis.upkeep import RedisUpkeep
from sophia.queue.redis.work import RedisWorkQueue

__all__ = ["QueueOptions", "RedisTaskQueue", "RedisUpkeep", "RedisWorkQueue"]
