"""``/v1/keys``: virtual keys of a tenant, made, listed and revoked."""

from __future__ import annotations

from datetime import datetime

from starlette.responses import Response

from sophia.access.base import KeyLimits, VirtualKey
from sophia.access.keys import PREFIX_CHARACTERS, digest_of, new_key_text
from sophia.gateway.access_schemas import KeyCreated, KeyList, KeyRequest, KeyView
from sophia.gateway.body import decode, read_body
from sophia.gateway.deps import Call
from sophia.gateway.responses import json_answer
from sophia.gateway.views import at, at_or_none
from sophia.nouns.errors import Forbidden, InvalidInput, NotFound
from sophia.nouns.event import Event, EventKind
from sophia.nouns.wording import nearest


async def create_key(call: Call) -> Response:
    asked = decode(await read_body(call.request, call.settings.server.max_body_bytes), KeyRequest)
    tenant = _tenant(call, asked.tenant)
    _check_models(call, asked.models)
    now_ms = call.deps.clock.now_ms()
    key_id, text = new_key_text()
    key = VirtualKey(
        id=key_id,
        tenant=tenant,
        name=asked.name,
        prefix=text[:PREFIX_CHARACTERS],
        digest=digest_of(text, call.deps.key_secret),
        scopes=tuple(dict.fromkeys(asked.scopes)),
        limits=_limits(call, asked),
        created_at_ms=now_ms,
        created_by=call.holder.key,
        expires_at_ms=_expiry(asked.expires_at, now_ms),
    )
    await call.deps.keys.add(key)
    call.context.keys.load(await call.deps.keys.keys(None, live_only=True))
    await _tell(call, key, {})
    view = _view(key)
    return json_answer(KeyCreated(key=text, **{name: getattr(view, name) for name in view.__struct_fields__}), 201)


async def list_keys(call: Call) -> Response:
    asked = call.request.query_params.get("tenant")
    tenant = None if call.holder.operator and asked is None else _tenant(call, asked)
    return json_answer(KeyList(keys=[_view(key) for key in await call.deps.keys.keys(tenant, live_only=False)]))


async def revoke_key(call: Call) -> Response:
    """It is revoked here before the other gateways are told; while they cannot be, the answer is 503: say it again."""
    key_id = call.request.path_params["key_id"]
    tenant = None if call.holder.operator else call.tenant
    key = await call.deps.keys.revoke(tenant, key_id, call.deps.clock.now_ms())
    if key is None:
        raise NotFound(f"there is no key {key_id[:64]!r}", field="key_id", mend="an `id` from GET /v1/keys")
    call.context.keys.drop(key.id)
    await _tell(call, key, {"revoked": key.id})
    return json_answer(_view(key))


async def _tell(call: Call, key: VirtualKey, data: dict[str, str]) -> None:
    now_ms = call.deps.clock.now_ms()
    event = Event(kind=EventKind.KEYS_CHANGED, at_ms=now_ms, subject=key.id, tenant=key.tenant, data=data)
    await call.deps.events.publish([event])


def _tenant(call: Call, asked: str | None) -> str:
    if asked is None or asked == call.tenant:
        return call.tenant
    if not call.holder.operator:
        raise Forbidden(f"this key is not of tenant {asked!r}", field="tenant", mend=f"leave it out: {call.tenant!r}")
    return asked


def _check_models(call: Call, names: list[str]) -> None:
    known = [card.id for card in call.deps.models.cards()]
    for index, name in enumerate(names):
        if name not in known and name not in call.settings.models:
            raise InvalidInput(f"unknown model {name!r}", field=f"models[{index}]", mend=nearest(name, known))


def _limits(call: Call, asked: KeyRequest) -> KeyLimits:
    """A key that names no rate of its own gets the settings', an administrator's key is not limited by default."""
    limits = call.settings.limits
    rate, burst = asked.requests_per_minute, asked.burst
    if rate is None:
        rate, burst = limits.requests_per_minute, burst or limits.burst
    return KeyLimits(
        models=tuple(asked.models),
        requests_per_minute=rate,
        burst=burst or rate,
        tokens_per_minute=asked.tokens_per_minute,
        token_burst=asked.token_burst or asked.tokens_per_minute,
        budget=asked.budget,
    )


def _expiry(expires_at: datetime | None, now_ms: int) -> int | None:
    if expires_at is None:
        return None
    at_ms = round(expires_at.timestamp() * 1000)
    if at_ms <= now_ms:
        raise InvalidInput("expires_at has passed", field="expires_at", mend="a time to come, or nothing")
    return at_ms


def _view(key: VirtualKey) -> KeyView:
    return KeyView(
        id=key.id,
        tenant=key.tenant,
        name=key.name,
        prefix=f"{key.prefix}…",
        scopes=list(key.scopes),
        models=list(key.limits.models),
        requests_per_minute=key.limits.requests_per_minute,
        burst=key.limits.burst,
        tokens_per_minute=key.limits.tokens_per_minute,
        token_burst=key.limits.token_burst,
        budget=key.limits.budget,
        created_at=at(key.created_at_ms),
        created_by=key.created_by,
        expires_at=at_or_none(key.expires_at_ms),
        revoked_at=at_or_none(key.revoked_at_ms),
    )
