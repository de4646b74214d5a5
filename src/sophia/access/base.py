"""The contracts of access: virtual keys and where they are kept, the gate that every model call passes, and the record of
what was used. Every gate passes the suite in ``tests/conformance/test_call_gate.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from sophia.nouns.budget import TenantBudget
from sophia.nouns.errors import RateLimited
from sophia.nouns.usage import Usage


class Scope(StrEnum):
    INFERENCE = "inference"
    """The OpenAI-compatible paths."""
    TASKS = "tasks"
    """All paths of the tenant but those of its keys."""
    ADMIN = "admin"
    """Everything of the tenant, its keys included."""


class KeyLimits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a key may do within its scopes. ``None``: no limit; no models: all of them."""

    models: tuple[str, ...] = ()
    requests_per_minute: int | None = None
    burst: int | None = None
    """Requests at once after a pause."""
    tokens_per_minute: int | None = None
    token_burst: int | None = None
    budget: TenantBudget = TenantBudget()
    """Counted beside the tenant's own."""


class VirtualKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it is kept: its text was shown once and is stored nowhere."""

    id: str
    tenant: str
    name: str
    prefix: str
    """The first characters of its text, to know it by."""
    digest: str
    """HMAC-SHA-256 of its text under the server's secret, hexadecimal."""
    scopes: tuple[Scope, ...]
    limits: KeyLimits
    created_at_ms: int
    created_by: str
    expires_at_ms: int | None = None
    revoked_at_ms: int | None = None


class KeyStore(Protocol):
    """Where keys outlive every process."""

    async def add(self, key: VirtualKey) -> None: ...

    async def keys(self, tenant: str | None, *, live_only: bool) -> Sequence[VirtualKey]:
        """Newest first; of a tenant or of all. ``live_only``: without those that were revoked."""

    async def revoke(self, tenant: str | None, key_id: str, at_ms: int) -> VirtualKey | None:
        """The key after that (revoking again changes nothing), or ``None`` when the tenant has no such key."""


class CacheAsk(msgspec.Struct, frozen=True, kw_only=True):
    """What of a call may be answered from the cache: an answer, or several parts of one. Keys carry their tenant."""

    keys: tuple[str, ...]
    tokens: tuple[int, ...]
    nano_usd: tuple[int, ...]
    """Of each part, when it is not there."""
    flight: str
    """Names the request: of several that are the same and miss at the same time, one is made."""
    lead_s: float
    """How long others wait for that one at most; 0: neither lead nor wait."""
    oldest_ms: int = 0
    """What was stored before is too old."""


class Entry(msgspec.Struct, frozen=True):
    """What is to be kept in the cache."""

    key: str
    value: bytes
    ttl_s: float


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A call that wants to be made: whose it is, and the most it may use. Tokens are estimates, money is nano-dollars."""

    tenant: str
    key: str
    """Its id, or ``config``."""
    model: str
    provider: str
    input_tokens: int
    output_tokens: int
    input_nano_usd: int
    """Of what is sent: that much is charged when nothing else gets known."""
    nano_usd: int
    """Of all of it."""
    limits: KeyLimits
    budget: TenantBudget
    """The tenant's."""
    cache: CacheAsk | None = None

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    @property
    def capped(self) -> bool:
        """Whether some budget bounds what it may use."""
        budgets = (self.budget, self.limits.budget)
        return any(budget.caps_usd or budget.caps_tokens for budget in budgets)


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """Where a key stands with one of its limits."""

    kind: str
    """``requests`` or ``tokens``."""
    limit: int
    """A minute."""
    remaining: int
    """Possible at this moment."""
    full_in_s: float
    """Until the whole burst is possible again."""


class OverRate(RateLimited):
    """Refused by a limit of the key."""

    def __init__(self, message: str, *, rate: Rate, field: str, mend: str, retry_after_s: float | None) -> None:
        super().__init__(message, field=field, mend=mend, retry_after_s=retry_after_s)
        self.rate = rate


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """The right to make one call. Whoever has it settles it, whatever becomes of the call."""

    id: str
    ask: Ask
    day: str
    """The UTC day whose budgets it counts against."""
    epoch: str
    """Names what the gate held when it was made; a gate that lost everything since has another."""
    nano_usd: int
    tokens: int
    """What is reserved."""
    rates: tuple[Rate, ...] = ()
    cached: tuple[bytes | None, ...] = ()
    """The parts that are there; only the others are reserved for."""


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """All of it is in the cache. Nothing is reserved."""

    ask: Ask
    cached: tuple[bytes, ...]
    rates: tuple[Rate, ...] = ()


class UnderWay(msgspec.Struct, frozen=True):
    """The same request is being made: ask again soon."""

    at_most_s: float


class CallGate(Protocol):
    """Admits calls to models, all their limits and budgets at once, and counts what they use.

    What a call may cost is reserved of the budgets of its tenant and key when it is opened and becomes what it did
    cost when it is settled, exactly once. Calls whose gateway died are settled by ``CallUpkeep``.
    """

    async def open(self, ask: Ask) -> Grant | Hit | UnderWay:
        """Raises ``OverRate``, ``BudgetExceeded``, or ``Unavailable`` (nothing is admitted that cannot be counted)."""

    def progress(self, grant: Grant, usage: Usage) -> None:
        """What a call has used so far: that is charged should this process die."""

    def settle(
        self,
        grant: Grant,
        usage: Usage,
        *,
        provider: str | None = None,
        entries: Sequence[Entry] = (),
        saved_nano_usd: int = 0,
    ) -> None:
        """End a call. Done in the background, and tried again until it is done. ``provider``: who served it, when that is
        not who was asked. ``entries`` are kept before those who wait for the same are let go; that is not tried again."""

    def count_hit(self, hit: Hit, saved_nano_usd: int) -> None:
        """A call that the cache has answered."""

    async def settled(self, timeout_s: float) -> bool:
        """Whether all that was to be settled is, within that time."""

    async def close(self) -> None: ...


class CallRow(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of one UTC day (``2026-01-31``), tenant, key, model and provider."""

    day: str
    tenant: str
    key: str
    model: str
    provider: str
    requests: int = 0
    cached: int = 0
    """Of them, answered from a cache."""
    input_tokens: int = 0
    output_tokens: int = 0
    embedding_tokens: int = 0
    cost_nano_usd: int = 0
    saved_nano_usd: int = 0
    """What cached answers would have cost."""


class CallBatch(msgspec.Struct, frozen=True, kw_only=True):
    """Sums that the ledger has to take up, once for each ``id``."""

    id: str
    rows: Sequence[CallRow]


class CallUpkeep(Protocol):
    """The side of whoever looks after the gate."""

    async def upkeep(self, limit: int) -> tuple[list[CallBatch], float | None]:
        """One bounded pass: end calls whose gateways are gone, and give the batches of usage that wait for the ledger.
        Then the seconds until another pass is worth while; ``None``: not before new calls."""

    async def recorded(self, batch: CallBatch) -> None:
        """The ledger has it."""


class CallLedger(Protocol):
    """Where usage of calls outlives the gate."""

    async def record_calls(self, batch: CallBatch, now_ms: int) -> None:
        """Add the batch's sums; a batch that was added before changes nothing."""

    async def calls(self, tenant: str | None, from_day: str, to_day: str) -> Sequence[CallRow]:
        """By day, tenant, key, model and provider; both days included. Raises ``InvalidInput``."""

    async def spent_by(self, accounts: Sequence[str], from_ms: int, to_ms: int) -> Mapping[str, tuple[int, int]]:
        """Nano-dollars and tokens of calls of these UTC days, by tenant (``acme``) or key (``acme/KEY_ID``)."""


def account_of_key(tenant: str, key_id: str) -> str:
    """The name of a key's budget account, which is kept where its tenant's is."""
    return f"{tenant}/{key_id}"
