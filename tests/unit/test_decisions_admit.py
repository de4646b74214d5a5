"""What a task reserves of its tenant's budgets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sophia.decisions.admit import admitted_budget
from sophia.nouns.budget import Budget, Reservation, TenantBudget
from sophia.nouns.payloads import BatchEmbedding, Light, LongPlanning
from sophia.settings.inference import HandlerDefaults, ModelSettings

DEFAULTS = HandlerDefaults(max_tokens=1_000, temperature=0.2, timeout_s=60)
MODEL = ModelSettings(kind="chat", providers={"p": "m"}, usd_per_1k_input_tokens=1.0, usd_per_1k_output_tokens=2.0)


def admit(budget: Budget, tenant: TenantBudget, payload: Any = None, type: str = "light") -> Any:
    payload = payload or Light(prompt="p" * 400)
    return admitted_budget(type, payload, budget, tenant=tenant, defaults=DEFAULTS, model=MODEL)


def test_without_tenant_caps_nothing_is_reserved() -> None:
    budget = Budget(max_usd=1.0)
    assert admit(budget, TenantBudget()) == (budget, None)


def test_a_cap_of_the_task_is_what_it_reserves() -> None:
    budget, reserved = admit(Budget(max_usd=0.25, max_tokens=70), TenantBudget(usd_per_day=1, tokens_per_day=100))
    assert budget == Budget(max_usd=0.25, max_tokens=70)
    assert reserved == Reservation(nano_usd=250_000_000, tokens=70)


def test_a_task_without_caps_reserves_and_is_held_to_its_worst_case() -> None:
    budget, reserved = admit(Budget(), TenantBudget(usd_per_month=10, tokens_per_month=10_000))
    assert reserved.tokens == budget.max_tokens
    assert reserved.tokens >= 100 + 1_000
    assert budget.max_usd == pytest.approx(reserved.nano_usd / 1e9)
    assert budget.max_usd >= 0.1 + 2.0


def test_a_kind_that_the_tenant_has_no_cap_on_is_left_alone() -> None:
    budget, reserved = admit(Budget(), TenantBudget(tokens_per_day=100_000))
    assert budget.max_usd is None
    assert reserved.nano_usd == 0


@given(st.lists(st.text(min_size=1), min_size=1, max_size=20))
def test_more_texts_never_reserve_less(texts: list[str]) -> None:
    tenant = TenantBudget(tokens_per_day=1)
    _, all_of_them = admit(Budget(), tenant, BatchEmbedding(texts=texts), "batch_embedding")
    _, first = admit(Budget(), tenant, BatchEmbedding(texts=texts[:1]), "batch_embedding")
    assert all_of_them.tokens >= first.tokens > 0


def test_a_type_that_calls_more_often_reserves_more() -> None:
    tenant = TenantBudget(tokens_per_day=1)
    _, light = admit(Budget(), tenant)
    _, planning = admit(Budget(), tenant, LongPlanning(goal="p" * 400), "long_planning")
    assert planning.tokens > 2 * light.tokens
