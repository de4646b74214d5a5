"""The contracts of access: virtual keys and where they are kept."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from sophia.nouns.budget import TenantBudget


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
