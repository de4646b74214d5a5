"""Who asks: bearer keys to their holders, and what these may do."""

from __future__ import annotations

import asyncio
import logging
import random

from starlette.requests import Request

from sophia.access.base import KeyStore, Scope
from sophia.access.keys import Holder, KeyTable
from sophia.events.hub import Hub, Subscription
from sophia.nouns.errors import Forbidden, SophiaError, Unauthorized, Unavailable
from sophia.nouns.event import Event, EventKind

log = logging.getLogger(__name__)

_MEND = "send `Authorization: Bearer YOUR_API_KEY`"
_LOOK_S = 3_600.0
_BACKOFF_MAX_S = 5.0
_SCOPE_OF_TAG = {"openai": Scope.INFERENCE, "keys": Scope.ADMIN}


def holder_of(request: Request, keys: KeyTable, now_ms: int) -> Holder:
    """Raises ``Unauthorized`` that says whether the key is missing or wrong."""
    header = request.headers.get("authorization")
    if header is None:
        raise Unauthorized("an API key is needed", field="Authorization", mend=_MEND)
    scheme, _, key = header.partition(" ")
    key = key.strip()
    if scheme.lower() != "bearer" or not key:
        raise Unauthorized("the Authorization header has no bearer key", field="Authorization", mend=_MEND)
    holder = keys.holder_of(key, now_ms)
    if holder is None:
        if not keys.loaded and keys.is_virtual(key):
            raise Unavailable("the keys are being read", retry_after_s=1)
        raise Unauthorized("this API key is not known", field="Authorization", mend=_MEND)
    return holder


def check_rights(holder: Holder, tag: str, *, operator: bool) -> None:
    """Raises ``Forbidden`` where the key's scopes do not reach."""
    if operator and not holder.operator:
        raise Forbidden("this is for the platform's operator", mend="a key with `operator: true` under auth.api_keys")
    if holder.admin:
        return
    needed = _SCOPE_OF_TAG.get(tag, Scope.TASKS)
    if needed not in holder.scopes:
        raise Forbidden(
            f"this key has no scope {needed.value!r}",
            field="Authorization",
            mend=f"a key with it; this one has {', '.join(holder.scopes)}",
        )


class KeyFollower:
    """Keeps the table of keys up to date: what changes is an event, which reaches every gateway over the tail of the
    log that it follows anyway. So a revocation costs milliseconds, and an idle gateway no command at all."""

    def __init__(self, table: KeyTable, store: KeyStore, hub: Hub) -> None:
        self._table = table
        self._store = store
        self._hub = hub

    async def run(self) -> None:
        """Until it is cancelled; starts again after trouble of the log or of the store."""
        failures = 0
        while True:
            try:
                await self._load()
                async with self._hub.subscribe(_concerns_keys) as events:
                    # What changed before the subscription began is in no event of it.
                    await self._load()
                    failures = 0
                    while True:
                        await self._take(events)
            except SophiaError as error:
                failures += 1
                log.warning("virtual keys cannot be read: %s", error)
            await asyncio.sleep(min(_BACKOFF_MAX_S, 0.1 * 2**failures) * random.uniform(0.5, 1.0))  # noqa: S311

    async def _take(self, events: Subscription) -> None:
        delivery = await events.next(_LOOK_S)
        while delivery is not None:
            revoked = delivery.event.data.get("revoked")
            if revoked is not None:
                # At once, whether or not the store answers.
                self._table.drop(revoked)
            if events.drained:
                break
            delivery = await events.next(0)
        if events.loss is not None:
            events.resume(self._hub.cursor)
        elif delivery is None:
            return
        await self._load()

    async def _load(self) -> None:
        self._table.load(await self._store.keys(None, live_only=True))


def _concerns_keys(event: Event) -> bool:
    return event.kind is EventKind.KEYS_CHANGED
