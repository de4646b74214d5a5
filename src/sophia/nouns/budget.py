"""Caps on what a task may spend."""

from __future__ import annotations

from typing import Annotated

import msgspec

from sophia.nouns.usage import NANO_USD_PER_USD, Usage


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """What a task holds of its tenant's budgets from its admission until it is settled."""

    nano_usd: int
    tokens: int


class TenantBudget(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Caps on what a tenant's tasks may spend, by the UTC day and month of their admission; ``None`` means no cap."""

    usd_per_day: Annotated[float, msgspec.Meta(ge=0)] | None = None
    usd_per_month: Annotated[float, msgspec.Meta(ge=0)] | None = None
    tokens_per_day: Annotated[int, msgspec.Meta(ge=0)] | None = None
    tokens_per_month: Annotated[int, msgspec.Meta(ge=0)] | None = None

    @property
    def caps_usd(self) -> bool:
        return self.usd_per_day is not None or self.usd_per_month is not None

    @property
    def caps_tokens(self) -> bool:
        return self.tokens_per_day is not None or self.tokens_per_month is not None


class Budget(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Caps of one task; ``None`` means no cap of that kind."""

    max_usd: Annotated[float, msgspec.Meta(ge=0, le=1_000_000)] | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_run_s: Annotated[float, msgspec.Meta(gt=0)] | None = None

    def exceeded_by(self, usage: Usage) -> str | None:
        """The first cap that ``usage`` is over, in words; ``None`` while it is within all of them."""
        if self.max_usd is not None and usage.cost_nano_usd > round(self.max_usd * NANO_USD_PER_USD):
            return f"max_usd is {self.max_usd:g}, spent {usage.cost_usd:.6f}"
        if self.max_tokens is not None and usage.total_tokens > self.max_tokens:
            return f"max_tokens is {self.max_tokens}, used {usage.total_tokens}"
        if self.max_run_s is not None and usage.run_s > self.max_run_s:
            return f"max_run_s is {self.max_run_s:g}, ran {usage.run_s:.1f}"
        return None

    def tokens_left(self, usage: Usage) -> int | None:
        """Tokens that may still be used; ``None`` without a cap."""
        return None if self.max_tokens is None else max(0, self.max_tokens - usage.total_tokens)
