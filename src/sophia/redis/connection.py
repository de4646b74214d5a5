"""One connection policy for everything that talks to Redis: bounded waits, typed errors, scripts that load themselves."""

from __future__ import annotations

import asyncio
import hashlib
import random
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import redis.asyncio as aioredis
from redis import exceptions as driver

from sophia.nouns.errors import ConfigError, SophiaError, StorageFull, Unavailable
from sophia.redis.base import Redis
from sophia.redis.cluster import Address, Cluster
from sophia.redis.line import Line

CONNECT_TIMEOUT_S = 5.0
REPLY_TIMEOUT_S = 10.0
# A restarting server loads its append-only file first; callers wait that out for a little while.
RETRY_FOR_S = 3.0
CLUSTER_SUFFIX = "+cluster"

T = TypeVar("T")


class Client(aioredis.Redis):
    """Implements ``Redis`` over one server: the driver's client, and beside it a line that many calls share."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.line = Line(self.connection_pool)
        self._callers: weakref.WeakSet[Line] = weakref.WeakSet()

    def call(self, key: str, *words: Any) -> Awaitable[Any]:
        return self.line.call(*words)

    def caller(self, key: str) -> Line:
        made = Line(self.connection_pool)
        self._callers.add(made)
        return made

    def together(self, keys: Sequence[str]) -> list[list[int]]:
        return [list(range(len(keys)))]

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        for line in (self.line, *self._callers):
            await line.close()
        await super().aclose(close_connection_pool)


def connect(url: str, *, max_connections: int = 32, reply_timeout_s: float = REPLY_TIMEOUT_S) -> Client:
    """A client for ``redis://``, ``rediss://`` or ``unix://`` URLs. Opens nothing yet."""
    client: Client = Client.from_pool(_pool(url, max_connections, reply_timeout_s))  # type: ignore[assignment]
    return client


def connect_any(url: str, *, reply_timeout_s: float = REPLY_TIMEOUT_S) -> Client | Cluster:
    """The same, also for ``redis+cluster://user:password@host:port,host:port`` and ``rediss+cluster://``. Any of the
    cluster's servers will do; a second one is for when the first is down."""
    parts = urlsplit(url)
    if not parts.scheme.endswith(CLUSTER_SUFFIX):
        return connect(url, reply_timeout_s=reply_timeout_s)
    scheme = parts.scheme.removesuffix(CLUSTER_SUFFIX)
    user, at, hosts = parts.netloc.rpartition("@")
    if parts.path.strip("/") not in ("", "0"):
        raise _not_understood("a cluster has no databases besides 0")
    seeds = [_address(scheme, host) for host in hosts.split(",")]

    def pool_of(address: Address) -> aioredis.ConnectionPool:
        return _pool(urlunsplit((scheme, f"{user}{at}{address}", "", parts.query, "")), 32, reply_timeout_s)

    pool_of(seeds[0])
    return Cluster(seeds, pool_of)


def _address(scheme: str, host: str) -> Address:
    parts = urlsplit(f"{scheme}://{host}")
    try:
        port = parts.port
    except ValueError as error:
        raise _not_understood(str(error)) from error
    if not parts.hostname:
        raise _not_understood("a host is missing")
    return Address(parts.hostname, port or 6379)


def _not_understood(reason: str) -> ConfigError:
    return ConfigError(
        f"the Redis URL is not understood: {reason}",
        field="redis.url",
        mend="redis://, rediss://, unix:///path, or redis+cluster:// and rediss+cluster:// with one or more host:port",
    )


def _pool(url: str, max_connections: int, reply_timeout_s: float) -> aioredis.ConnectionPool:
    """The driver's own retries are off: a command whose reply was lost is only repeated where that is harmless."""
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    try:
        # A blocking pool: callers beyond its size wait for a connection instead of failing.
        return aioredis.BlockingConnectionPool.from_url(
            url,
            timeout=reply_timeout_s,
            decode_responses=False,
            socket_timeout=reply_timeout_s,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            max_connections=max_connections,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
    except ValueError as error:
        raise _not_understood(str(error)) from error


def translate(error: Exception) -> SophiaError:
    """A driver's error as one of ours."""
    if isinstance(error, driver.AuthenticationError | driver.NoPermissionError):
        return ConfigError("Redis refused the credentials", mend="check the user and password in the Redis URL")
    if isinstance(error, driver.OutOfMemoryError):
        return StorageFull("Redis has reached its memory limit")
    if isinstance(error, driver.MovedError | driver.ClusterCrossSlotError):
        return ConfigError(
            "the Redis server is a member of a cluster, but its URL does not say so",
            field="redis.url",
            mend="redis+cluster:// or rediss+cluster:// instead of redis:// or rediss://",
        )
    if isinstance(error, driver.AskError | driver.TryAgainError):
        return Unavailable("this part of the queue is being moved to another server of the cluster")
    if isinstance(error, driver.ClusterDownError):
        return Unavailable("a part of the Redis Cluster has no server at the moment")
    text = str(error)
    if "MISCONF" in text or "No space left" in text:
        return StorageFull("Redis cannot write to its disk; nothing was accepted")
    if text.startswith("READONLY"):
        return Unavailable("Redis is a read-only replica at the moment")
    if isinstance(error, driver.ConnectionError | driver.TimeoutError | OSError):
        return Unavailable("Redis does not answer")
    return Unavailable(f"Redis answered with an error: {text}")


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    try:
        yield
    except (driver.RedisError, OSError) as error:
        raise translate(error) from error


_TRANSIENT = (
    driver.ConnectionError,
    driver.TimeoutError,
    driver.BusyLoadingError,
    driver.AskError,
    driver.TryAgainError,
    driver.ClusterDownError,
    OSError,
)


def is_transient(error: BaseException) -> bool:
    """Whether the same may succeed a moment later: cut connections, a server that still loads its data, a part of a
    cluster that is being moved or gets a new master."""
    return isinstance(error, _TRANSIENT) and not isinstance(error, driver.AuthenticationError)


async def cancellable(call: Awaitable[T]) -> T:
    """Await the driver without losing a cancellation.

    The driver uses ``asyncio.wait_for``, which before Python 3.12 forgets a cancellation that arrives in the same turn
    as the result (python/cpython#86296): a task that was told to end would go on for ever.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    result = await call
    if task and task.cancelling() > before:
        raise asyncio.CancelledError
    return result


async def persistently(call: Callable[[], Awaitable[T]], *, for_s: float = RETRY_FOR_S) -> T:
    """Repeat a harmless call over connection trouble for ``for_s`` seconds; other errors come through at once."""
    loop = asyncio.get_running_loop()
    until = loop.time() + for_s
    pause = 0.05
    while True:
        try:
            return await cancellable(call())
        except (driver.RedisError, OSError) as error:
            if not is_transient(error) or loop.time() + pause > until:
                raise translate(error) from error
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        pause = min(pause * 2, 0.8)


async def check_url(client: Redis, keys: Sequence[str]) -> None:
    """Raises ``ConfigError`` when the URL names one server that is a member of a cluster, or the other way round. Other
    trouble is left to whoever uses the client."""
    for error in await asyncio.gather(*(client.call(key, "EXISTS", key) for key in keys), return_exceptions=True):
        if isinstance(error, ConfigError):
            raise error
        if isinstance(error, driver.MovedError):
            raise translate(error) from error


class Script:
    """A Lua script called by its digest; sent in full only when the server does not know it."""

    def __init__(self, client: Redis, source: str) -> None:
        self._client = client
        self._source = source
        self._sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, key: str, args: Sequence[Any]) -> Any:
        """One call on one key's slot. Raises the driver's errors."""
        try:
            return await self._client.call(key, "EVALSHA", self._sha, 1, key, *args)
        except driver.NoScriptError:
            return await self._client.call(key, "EVAL", self._source, 1, key, *args)
