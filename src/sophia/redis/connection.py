"""One connection policy for everything that talks to Redis: bounded waits, typed errors, scripts that load themselves."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import redis.asyncio as aioredis
from redis import exceptions as driver

from sophia.cancel import cancel_all
from sophia.nouns.errors import ConfigError, SophiaError, StorageFull, Unavailable
from sophia.redis.line import Line

CONNECT_TIMEOUT_S = 5.0
REPLY_TIMEOUT_S = 10.0
# A restarting server loads its append-only file first; callers wait that out for a little while.
RETRY_FOR_S = 3.0

T = TypeVar("T")


class Client(aioredis.Redis):
    """The driver's client, and beside it a line that scripts share; closed together."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.line = Line(self.connection_pool)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await self.line.close()
        await super().aclose(close_connection_pool)


def line_of(client: aioredis.Redis) -> Line:
    """The line of a client that ``connect`` made."""
    if not isinstance(client, Client):
        raise TypeError("a client that sophia.redis.connection.connect made is needed")
    return client.line


def connect(url: str, *, max_connections: int = 32, reply_timeout_s: float = REPLY_TIMEOUT_S) -> aioredis.Redis:
    """A client for ``redis://``, ``rediss://`` or ``unix://`` URLs. Opens nothing yet.

    The driver's own retries are off: a command whose reply was lost is only repeated where that is harmless.
    """
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    try:
        # A blocking pool: callers beyond its size wait for a connection instead of failing.
        pool = aioredis.BlockingConnectionPool.from_url(
            url,
            timeout=reply_timeout_s,
            decode_responses=False,
            socket_timeout=reply_timeout_s,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            max_connections=max_connections,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        return Client.from_pool(pool)
    except ValueError as error:
        raise ConfigError(
            f"the Redis URL is not understood: {error}", mend="redis://, rediss:// or unix:///path"
        ) from error


def translate(error: Exception) -> SophiaError:
    """A driver's error as one of ours."""
    if isinstance(error, driver.AuthenticationError | driver.NoPermissionError):
        return ConfigError("Redis refused the credentials", mend="check the user and password in the Redis URL")
    if isinstance(error, driver.OutOfMemoryError):
        return StorageFull("Redis has reached its memory limit")
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


def is_transient(error: BaseException) -> bool:
    """Whether the server may answer a moment later: cut connections, and a server that still loads its data."""
    return isinstance(error, driver.ConnectionError | driver.TimeoutError | driver.BusyLoadingError | OSError) and not (
        isinstance(error, driver.AuthenticationError)
    )


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


async def command(client: aioredis.Redis, *args: Any) -> Any:
    """One command as it is. Raises the driver's errors."""
    return await cancellable(client.execute_command(*args))  # type: ignore[no-untyped-call]


async def blocking_command(client: aioredis.Redis, *args: Any) -> Any:
    """A command that the server may answer late. A cancellation ends it at once, also one that the driver forgets
    while it sends (see ``cancellable``): that would be noticed only with the answer."""
    call = asyncio.ensure_future(client.execute_command(*args))  # type: ignore[no-untyped-call]
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        await cancel_all(call)
        raise


class Script:
    """A Lua script called by its digest; sent in full only when the server does not know it."""

    def __init__(self, client: aioredis.Redis, source: str) -> None:
        self._line = line_of(client)
        self._source = source
        self._sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, key: str, args: Sequence[Any]) -> Any:
        """One call on one key's slot. Raises the driver's errors."""
        try:
            return await self._line.call("EVALSHA", self._sha, 1, key, *args)
        except driver.NoScriptError:
            return await self._line.call("EVAL", self._source, 1, key, *args)
