"""The gate on Redis."""

from sophia.access.redis.gate import RedisCallGate
from sophia.access.redis.upkeep import RedisCallUpkeep

__all__ = ["RedisCallGate", "RedisCallUpkeep"]
