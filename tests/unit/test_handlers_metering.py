"""What calls cost, and what a budget lets through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sophia.inference.base import ModelCard
from sophia.nouns.budget import Budget
from sophia.nouns.clock import ManualClock
from sophia.nouns.errors import BudgetExceeded
from sophia.nouns.usage import Usage
from sophia.worker.metering import Call, Meter, cost_nano_usd, estimated_prompt_tokens, estimated_tokens


def card(*, read: float = 0.0, written: float = 0.0) -> ModelCard:
    return ModelCard(
        id="m",
        kind="chat",
        provider="p",
        upstream_model="m",
        usd_per_1k_input_tokens=read,
        usd_per_1k_output_tokens=written,
    )


def meter(*, spent_before: Usage = Usage(), **caps: float) -> Meter:  # noqa: B008
    return Meter(Budget(**caps), ManualClock(), spent_before)  # type: ignore[arg-type]


def test_a_call_is_clipped_to_the_tokens_left() -> None:
    metered = meter(max_tokens=100)
    call, allowed = metered.open_chat(card(), 30, 500)
    assert allowed == 70
    call.finished(Usage(input_tokens=30, output_tokens=20))
    metered.close(call)
    metered.check()
    assert metered.usage.total_tokens == 50
    assert metered.open_chat(card(), 10, 500)[1] == 40


def test_a_prompt_that_does_not_fit_is_refused_and_says_what_is_left() -> None:
    with pytest.raises(BudgetExceeded, match=r"max_tokens is 100: 60 are used, 40 are left") as refused:
        meter(max_tokens=100, spent_before=Usage(input_tokens=60)).open_chat(card(), 40, 10)
    assert refused.value.field == "budget.max_tokens"


def test_a_call_is_clipped_to_the_money_left() -> None:
    # 0.001 USD: 100 prompt tokens at 1 USD a million leave 0.0009, which pays 450 tokens at 2 USD a million.
    _, allowed = meter(max_usd=0.001).open_chat(card(read=0.001, written=0.002), 100, 1000)
    assert allowed == 450


def test_money_that_does_not_pay_for_the_prompt_refuses_the_call() -> None:
    with pytest.raises(BudgetExceeded, match=r"max_usd is 0\.0001: 0\.000100 USD are left") as refused:
        meter(max_usd=0.0001).open_chat(card(read=0.001, written=0.002), 100, 1000)
    assert refused.value.field == "budget.max_usd"


def test_free_models_run_on_no_money_at_all() -> None:
    assert meter(max_usd=0).open_chat(card(), 100, 1000)[1] == 1000


def test_calls_at_the_same_time_cannot_overspend_together() -> None:
    metered = meter(max_tokens=100)
    metered.open_chat(card(), 10, 80)
    assert metered.open_chat(card(), 5, 80)[1] == 5
    with pytest.raises(BudgetExceeded):
        metered.open_chat(card(), 1, 1)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 200)), max_size=20), st.integers(1, 300))
def test_what_is_reserved_never_passes_the_cap(calls: list[tuple[int, int]], cap: int) -> None:
    metered = meter(max_tokens=cap)
    reserved = 0
    for prompt, wanted in calls:
        try:
            call, allowed = metered.open_chat(card(), prompt, wanted)
        except BudgetExceeded:
            continue
        assert 1 <= allowed <= wanted
        reserved += call.reserved.total_tokens
    assert reserved <= cap


def test_a_finished_call_over_the_cap_is_told() -> None:
    metered = meter(max_tokens=100)
    call, _ = metered.open_chat(card(), 10, 50)
    call.finished(Usage(input_tokens=90, output_tokens=50))
    metered.close(call)
    with pytest.raises(BudgetExceeded, match="max_tokens is 100, used 140; nothing is left") as over:
        metered.check()
    assert over.value.field == "budget.max_tokens"


def test_time_runs_out() -> None:
    clock = ManualClock()
    metered = Meter(Budget(max_run_s=10), clock, Usage(run_s=4))
    assert metered.run_left_s() == 6
    clock.advance(6)
    assert metered.run_left_s() == 0
    assert metered.usage.run_s == pytest.approx(6)
    with pytest.raises(BudgetExceeded, match="max_run_s is 10"):
        metered.open_embedding(card(), 1)


def test_a_stream_that_is_cut_counts_its_prompt_and_at_least_a_token_for_each_piece() -> None:
    metered = meter()
    call, _ = metered.open_chat(card(read=0.001, written=0.002), 40, 500)
    for piece in ("a", "b", "a piece of more than one token"):
        call.received(piece)
    metered.close(call)
    assert metered.usage == Usage(input_tokens=40, output_tokens=8, model_calls=1, cost_nano_usd=56_000)


def test_a_call_that_was_refused_costs_nothing_unless_part_of_it_came() -> None:
    metered = meter()
    refused, _ = metered.open_chat(card(), 40, 500)
    refused.refused()
    metered.close(refused)
    assert metered.usage == Usage(model_calls=1)
    cut, _ = metered.open_chat(card(), 40, 500)
    cut.received("a")
    cut.refused()
    metered.close(cut)
    assert metered.usage == Usage(input_tokens=40, output_tokens=1, model_calls=2)


def test_usage_grows_while_a_call_runs() -> None:
    metered = meter()
    call, _ = metered.open_chat(card(), 40, 500)
    call.received("a")
    assert metered.usage.output_tokens == 1
    call.received("b")
    assert metered.usage.output_tokens == 2


def test_the_providers_price_stands_and_estimates_are_priced_by_the_card() -> None:
    call = Call(card(read=0.001), Usage(input_tokens=1000))
    assert call.usage.cost_nano_usd == 1_000_000
    call.finished(Usage(input_tokens=1000, cost_nano_usd=7))
    assert call.usage.cost_nano_usd == 7
    assert cost_nano_usd(card(read=0.00002), Usage(embedding_tokens=1)) == 20


def test_estimates() -> None:
    assert estimated_tokens("") == 0
    assert estimated_tokens("abcde") == 2
    assert estimated_prompt_tokens([{"role": "user", "content": "abcde"}, {"role": "assistant", "content": None}]) == 10
    parts = [{"role": "user", "content": [{"type": "text", "text": "abcde"}]}]
    assert estimated_prompt_tokens(parts) > 6
