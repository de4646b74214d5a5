"""What ``sophia doctor`` says of a Redis server or cluster."""

from __future__ import annotations

from collections import Counter

import msgspec
from redis import exceptions as driver

from sophia.nouns.errors import ConfigError
from sophia.queue.redis.shared import partition_prefix
from sophia.redis.cluster import Part, slot_of
from sophia.redis.connection import Client, check_url, connect_any

TIMEOUT_S = 5.0


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    status: str
    detail: str
    mend: str = ""


async def examine_redis(url: str, partitions: int) -> Finding:
    try:
        client = connect_any(url, reply_timeout_s=TIMEOUT_S)
    except ConfigError as error:
        return Finding(status="fail", detail=error.message, mend=error.mend or "")
    try:
        await check_url(client, [partition_prefix(number) for number in range(partitions)])
        if isinstance(client, Client):
            version = (await client.info("server"))["redis_version"]
            return Finding(status="ok", detail=f"answers, version {version}")
        return _cluster(await client.parts(), partitions)
    except ConfigError as error:
        return Finding(status="fail", detail=error.message, mend=error.mend or "")
    except (driver.RedisError, OSError, TimeoutError) as error:
        # Not the error's text: it may repeat the URL with its password.
        mend = "check the URL in the variable, and that this machine may reach it"
        return Finding(status="fail", detail=f"does not answer ({type(error).__name__})", mend=mend)
    finally:
        await client.aclose()


def _cluster(parts: list[Part], partitions: int) -> Finding:
    """Where the partitions are. A cluster serves no more masters than there are partitions."""
    masters = {part.master for part in parts}
    slots = [slot_of(partition_prefix(number)) for number in range(partitions)]
    owners = Counter(part.master for slot in slots for part in parts if part.first <= slot <= part.last)
    shares = ", ".join(f"{master}: {owners[master]}" for master in sorted(masters))
    detail = f"a cluster of {len(masters)} masters answers; partitions on each: {shares}"
    if sum(owners.values()) < partitions:
        return Finding(status="fail", detail=detail, mend="slots have no owner: redis-cli --cluster check HOST:PORT")
    if idle := [str(master) for master in sorted(masters) if not owners[master]]:
        mend = f"{', '.join(idle)} would have no work: more redis.partitions, or move slots (docs/scaling.md)"
        return Finding(status="warn", detail=detail, mend=mend)
    if any(part.replicas == 0 for part in parts):
        mend = "masters without a replica: when one is lost, its partitions wait until it is back"
        return Finding(status="warn", detail=detail, mend=mend)
    return Finding(status="ok", detail=detail)
