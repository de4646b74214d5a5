"""The driver's and the server's errors as ours."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from nats import errors as driver

from sophia.nouns.errors import ConfigError, InvalidInput, PayloadTooLarge, SophiaError, StorageFull, Unavailable

RETRY_FOR_S = 3.0
WRONG_LAST_SEQUENCE = frozenset({10071, 10164})
NO_MESSAGE = frozenset({10037, 10043, 10057})
NO_STREAM = 10059
BATCH_TOO_LARGE = 10199
STORAGE_FULL = frozenset({10023, 10028, 10047, 10077})
BATCH_TRANSIENT = frozenset({10176, 10210, 10211})
T = TypeVar("T")


class Mismatch(Exception):
    """Somebody else wrote first: nothing was written."""


class Absent(Exception):
    """The server does not know the stream (any more)."""


class Trouble(Exception):
    """No answer, or a server that asks to come back: the call may or may not have had its effect."""


class Refused(Exception):
    """The server answered a request with an error of its own."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} ({code})")
        self.code = code


def raise_for(error: dict[str, Any]) -> None:
    """An error object of the JetStream API as an exception."""
    code, text = int(error.get("err_code", 0)), str(error.get("description", "unknown error"))
    if code in WRONG_LAST_SEQUENCE:
        raise Mismatch(text)
    if code == NO_STREAM:
        raise Absent(text)
    if code in STORAGE_FULL or "insufficient" in text or "no space left" in text:
        raise StorageFull("NATS cannot write to its disk; nothing was accepted")
    if code == BATCH_TOO_LARGE or "batch is too large" in text:
        raise InvalidInput(
            "the NATS server takes fewer messages in one batch than this submission needs",
            mend="submit fewer tasks at once, or raise jetstream.limits.batch.max_msgs of the server",
        )
    if code in BATCH_TRANSIENT or error.get("code") == 503:
        raise Trouble(text)
    raise Refused(code, text)


def translate(error: Exception) -> SophiaError:
    """A driver's error as one of ours."""
    if isinstance(error, SophiaError):
        return error
    if isinstance(error, driver.AuthorizationError | driver.InvalidUserCredentialsError):
        return ConfigError("NATS refused the credentials", mend="check the user and password in the NATS URL")
    if isinstance(error, driver.MaxPayloadError):
        return PayloadTooLarge("the task is larger than the NATS server takes (max_payload)")
    if isinstance(error, Refused):
        return Unavailable(f"NATS answered with an error: {error}")
    return Unavailable("NATS does not answer")


def is_transient(error: Exception) -> bool:
    if isinstance(error, driver.AuthorizationError | driver.InvalidUserCredentialsError | driver.MaxPayloadError):
        return False
    return isinstance(error, Trouble | Absent | driver.Error | OSError)


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    try:
        yield
    except (driver.Error, OSError, Trouble, Absent, Refused) as error:
        raise translate(error) from error


async def persistently(call: Callable[[], Awaitable[T]], *, for_s: float = RETRY_FOR_S) -> T:
    """Repeat a harmless call over connection trouble for ``for_s`` seconds; other errors come through at once."""
    loop = asyncio.get_running_loop()
    until = loop.time() + for_s
    pause = 0.05
    while True:
        try:
            return await call()
        except (driver.Error, OSError, Trouble, Absent, Refused) as error:
            if not is_transient(error) or loop.time() + pause > until:
                raise translate(error) from error
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        pause = min(pause * 2, 0.8)
