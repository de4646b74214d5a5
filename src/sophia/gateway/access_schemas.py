"""Shapes of the paths about virtual keys."""

from __future__ import annotations

from typing import Annotated

import msgspec

from sophia.access.base import Scope
from sophia.nouns.budget import TenantBudget
from sophia.nouns.submission import Timestamp

Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
KeyName = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
TenantName = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]


class KeyRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: KeyName
    """What it is for."""
    tenant: TenantName | None = None
    """Another than the asking key's is for operators."""
    scopes: Annotated[list[Scope], msgspec.Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: [Scope.INFERENCE]
    )
    """``inference``: the OpenAI-compatible paths; ``tasks``: the rest of the tenant's; ``admin``: both, and its keys."""
    models: Annotated[list[str], msgspec.Meta(max_length=100)] = []
    """Only these; none: all."""
    requests_per_minute: Count | None = None
    """Default: ``limits`` of the settings."""
    burst: Count | None = None
    """Requests at once after a pause."""
    tokens_per_minute: Count | None = None
    """Of prompts and answers together; none: no limit."""
    token_burst: Count | None = None
    budget: TenantBudget = TenantBudget()
    """Of this key alone, besides its tenant's."""
    expires_at: Timestamp | None = None


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    tenant: str
    name: str
    prefix: str
    """The beginning of its text."""
    scopes: list[Scope]
    models: list[str]
    requests_per_minute: int | None
    burst: int | None
    tokens_per_minute: int | None
    token_burst: int | None
    budget: TenantBudget
    created_at: Timestamp
    created_by: str
    """The id of the key that made it; ``config``: one of ``sophia.yaml``."""
    expires_at: Timestamp | None
    revoked_at: Timestamp | None


class KeyCreated(KeyView, frozen=True, kw_only=True):
    key: str
    """Its text, shown this once."""


class KeyList(msgspec.Struct, frozen=True, kw_only=True):
    keys: list[KeyView]


class CallSums(msgspec.Struct, frozen=True, kw_only=True):
    requests: int
    cached: int
    """Of them, answered from a cache."""
    input_tokens: int
    output_tokens: int
    embedding_tokens: int
    cost_usd: float
    saved_usd: float
    """What cached answers would have cost."""


class CallLine(CallSums, frozen=True, kw_only=True):
    """What the report is not split by is ``null``."""

    day: str | None
    tenant: str | None
    key: str | None
    """A virtual key's id; ``config``: keys of ``sophia.yaml``."""
    model: str | None
    provider: str | None


class TaskLine(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks of a type, by the days on which their attempts ended."""

    type: str
    tasks: int
    input_tokens: int
    output_tokens: int
    embedding_tokens: int
    cost_usd: float


class UsageReport(msgspec.Struct, frozen=True, kw_only=True):
    from_day: str
    to_day: str
    by: list[str]
    rows: list[CallLine]
    """Calls over the OpenAI-compatible paths."""
    total: CallSums
    tasks: list[TaskLine]
