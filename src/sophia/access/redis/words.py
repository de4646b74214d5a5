"""Asks and settlements as the scripts take them, and refusals in words."""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from sophia.access.base import Ask, CacheAsk, Entry, OverRate, Rate, account_of_key
from sophia.nouns.budget import TenantBudget
from sophia.nouns.errors import SophiaError
from sophia.nouns.usage import Usage
from sophia.queue.budgets import caps_of, closed, over_budget

_encode = msgspec.msgpack.Encoder().encode
MINUTE_MS = 60_000
_NOT_CACHED = CacheAsk(keys=(), tokens=(), nano_usd=(), flight="", lead_s=0)


class Settlement(msgspec.Struct, frozen=True):
    id: str
    ask: Ask
    epoch: str
    day: str
    nano_usd: int
    tokens: int
    usage: Usage
    provider: str
    requests: int = 1
    cached: int = 0
    saved_nano_usd: int = 0
    flight: str = ""
    entries: tuple[Entry, ...] = ()


def pack_ask(call_id: str, ask: Ask, day: str) -> bytes:
    limits = ask.limits
    each, each_token = _each_ms(limits.requests_per_minute), _each_ms(limits.tokens_per_minute)
    key_caps = _caps(limits.budget)
    cache = ask.cache or _NOT_CACHED
    return _encode(
        (
            call_id,
            ask.tenant,
            ask.key if each or each_token else "",
            each,
            limits.burst or limits.requests_per_minute or 0,
            each_token,
            limits.token_burst or limits.tokens_per_minute or 0,
            ask.tokens,
            ask.nano_usd,
            account_of_key(ask.tenant, ask.key) if key_caps else "",
            _caps(ask.budget),
            key_caps,
            day,
            _labels(day, ask, ask.provider),
            ask.input_tokens,
            ask.input_nano_usd,
            cache.keys,
            cache.tokens,
            cache.nano_usd,
            round(cache.lead_s * 1000),
            cache.flight,
            cache.oldest_ms,
        )
    )


def pack_settlement(ended: Settlement) -> bytes:
    ask, usage = ended.ask, ended.usage
    each_token = _each_ms(ask.limits.tokens_per_minute)
    return _encode(
        (
            ended.id,
            ended.epoch,
            ask.tenant if _caps(ask.budget) else "",
            account_of_key(ask.tenant, ask.key) if _caps(ask.limits.budget) else "",
            ended.day,
            ended.nano_usd,
            ended.tokens,
            _labels(ended.day, ask, ended.provider),
            ended.requests,
            ended.cached,
            usage.input_tokens,
            usage.output_tokens,
            usage.embedding_tokens,
            usage.cost_nano_usd,
            ended.saved_nano_usd,
            ask.key if each_token else "",
            each_token,
            ended.tokens,
            ended.flight,
        )
    )


def rates_of(ask: Ask, left: list[int]) -> tuple[Rate, ...]:
    """Of the four numbers of an answer."""
    kinds = (("requests", ask.limits.requests_per_minute, 0), ("tokens", ask.limits.tokens_per_minute, 2))
    return tuple(
        Rate(kind=kind, limit=limit, remaining=left[at], full_in_s=left[at + 1] / 1000)
        for kind, limit, at in kinds
        if limit is not None
    )


def refusal(ask: Ask, verdict: str, details: list[Any], now_ms: int) -> SophiaError:
    if verdict == "closed":
        return closed(ask.tenant)
    if verdict == "budget":
        whose, period, kind = (word.decode() for word in details[:3])
        cap, spent, reserved = (int(number) for number in details[3:])
        owner = f"tenant {ask.tenant!r}" if whose == "tenant" else f"key {ask.key}"
        field = f"tenants.{ask.tenant}.budget" if whose == "tenant" else "budget"
        needs = ask.nano_usd if kind == "usd" else ask.tokens
        return over_budget(
            owner,
            field,
            period,
            kind,
            (cap, spent, reserved, needs),
            now_ms,
            what="call",
            mend="a smaller max_tokens, or a later time",
        )
    wait_ms, left, full_ms = details
    limit = (ask.limits.requests_per_minute if verdict == "requests" else ask.limits.tokens_per_minute) or 0
    rate = Rate(kind=verdict, limit=limit, remaining=left, full_in_s=full_ms / 1000)
    field = f"{verdict}_per_minute"
    if wait_ms < 0:
        burst = ask.limits.token_burst or limit
        return OverRate(
            f"this call may use {ask.tokens:,} tokens, and its key at most {burst:,} at once",
            rate=rate,
            field=field,
            mend="a smaller max_tokens or prompt",
            retry_after_s=None,
        )
    return OverRate(
        f"the key's limit of {limit:,} {verdict} a minute is reached; {left:,} are left at this moment",
        rate=rate,
        field=field,
        mend=f"try again in {wait_ms / 1000:.1f} s",
        retry_after_s=max(0.001, wait_ms / 1000),
    )


def _each_ms(per_minute: int | None) -> float:
    return MINUTE_MS / per_minute if per_minute else 0


@functools.lru_cache(maxsize=1024)
def _caps(budget: TenantBudget) -> tuple[int, ...]:
    """Nothing without a budget, which spares the script its accounts."""
    if not (budget.caps_usd or budget.caps_tokens):
        return ()
    (usd_day, tokens_day), (usd_month, tokens_month) = caps_of(budget)
    return tuple(-1 if cap is None else cap for cap in (usd_day, usd_month, tokens_day, tokens_month))


def _labels(day: str, ask: Ask, provider: str) -> str:
    return f"{day}\n{ask.tenant}\n{ask.key}\n{ask.model}\n{provider}"
