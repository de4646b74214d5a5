"""Figures the engine needs; see ``QueueSettings`` for their meaning."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from sophia.nouns.budget import TenantBudget
from sophia.nouns.task import Task


class JetStreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    streams: tuple[str, ...]
    lease_s: float = 10.0
    idempotency_ttl_s: float = 86_400.0
    result_ttl_s: float = 3_600.0
    task_events_max: int = 5_000
    age_boost_s: float = 60.0
    tenant_max_running: int | None = None
    max_running: Mapping[str, int] = {}
    """Caps by ``tenant:NAME`` and ``type:NAME``; a tenant's own goes before ``tenant_max_running``."""
    budgets: Mapping[str, TenantBudget] = {}
    """By tenant."""

    @property
    def lease_ms(self) -> int:
        return round(self.lease_s * 1000)

    def lane_of(self, task: Task) -> str:
        """A tenant's tasks wait in one line, and those of a type with a cap of its own in another."""
        return f"{task.tenant}|{task.type}" if f"type:{task.type}" in self.max_running else task.tenant

    def cap_of_tenant(self, tenant: str) -> int | None:
        return self.max_running.get(f"tenant:{tenant}", self.tenant_max_running)

    def cap_of_type(self, type_: str) -> int | None:
        return self.max_running.get(f"type:{type_}")
