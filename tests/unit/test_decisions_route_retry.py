"""Routing by the published table, and what follows an error."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sophia.decisions.retry import MIN_RETRY_S, after_error, backoff_s
from sophia.decisions.route import route
from sophia.nouns.errors import ErrorClass, ErrorInfo
from sophia.nouns.payloads import BatchEmbedding, CodeGeneration, Light, LongPlanning, WebResearch
from sophia.nouns.task import AttemptOutcome, Target, Tier
from sophia.settings.load import load
from sophia.settings.model import RetrySettings

RULES = load(None, Path("unused"), {}, "local").settings.routes
RETRY = RetrySettings(max_attempts=5, base_s=2.0, max_s=60.0)


@pytest.mark.parametrize(
    ("type", "tier", "payload", "stream", "target"),
    [
        ("long_planning", Tier.FAST, LongPlanning(goal="g"), "planning", Target.GPU),
        ("light", Tier.QUALITY, Light(prompt="p"), "planning", Target.GPU),
        ("web_research", Tier.QUALITY, WebResearch(question="q"), "planning", Target.GPU),
        ("code_generation", Tier.FAST, CodeGeneration(prompt="p"), "light", Target.CPU),
        ("code_generation", Tier.FAST, CodeGeneration(prompt="p" * 16_000), "light", Target.CPU),
        ("code_generation", Tier.FAST, CodeGeneration(prompt="p" * 16_001), "coding", Target.GPU),
        ("code_generation", Tier.BALANCED, CodeGeneration(prompt="p", max_tokens=4_000), "coding", Target.GPU),
        ("batch_embedding", Tier.FAST, BatchEmbedding(texts=["t"] * 100), "light", Target.CPU),
        ("batch_embedding", Tier.FAST, BatchEmbedding(texts=["t"] * 101), "embedding", Target.GPU),
        ("web_research", Tier.FAST, WebResearch(question="q"), "research", Target.CPU),
        ("light", Tier.BALANCED, Light(prompt="p"), "light", Target.CPU),
    ],
)
def test_the_routing_table(type: str, tier: Tier, payload: msgspec.Struct, stream: str, target: Target) -> None:
    chosen = route(type=type, tier=tier, payload=payload, rules=RULES)
    assert (chosen.stream, chosen.target) == (stream, target)
    assert chosen.reason


def test_the_reason_names_what_decided() -> None:
    texts = BatchEmbedding(texts=["t"] * 2_000)
    chosen = route(type="batch_embedding", tier=Tier.FAST, payload=texts, rules=RULES)
    assert chosen.reason == "type is batch_embedding and 2,000 texts, more than 100"


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_backoff_is_bounded_and_never_zero(attempt: int, chance: float) -> None:
    assert MIN_RETRY_S <= backoff_s(attempt, RETRY, chance) <= RETRY.max_s


@given(st.integers(1, 20), st.floats(0, 1, exclude_max=True))
def test_backoff_is_full_jitter_under_a_doubling_ceiling(attempt: int, chance: float) -> None:
    ceiling = min(RETRY.max_s, RETRY.base_s * 2 ** (attempt - 1))
    assert backoff_s(attempt, RETRY, chance) == pytest.approx(max(MIN_RETRY_S, chance * ceiling))


def verdict(error_class: ErrorClass, counted: int, retry_after_s: float | None = None) -> tuple[AttemptOutcome, float]:
    error = ErrorInfo(code="c", message="m", error_class=error_class, retry_after_s=retry_after_s)
    decided = after_error(error, attempts_counted=counted, max_attempts=3, settings=RETRY, chance=0.5)
    return decided.outcome, decided.retry_in_s


def test_errors_are_retried_by_class_until_attempts_are_used_up() -> None:
    assert verdict(ErrorClass.PERMANENT, 1) == (AttemptOutcome.FAILED, 0)
    assert verdict(ErrorClass.RETRYABLE, 1) == (AttemptOutcome.RETRYING, 1.0)
    assert verdict(ErrorClass.RETRYABLE, 2) == (AttemptOutcome.RETRYING, 2.0)
    assert verdict(ErrorClass.RETRYABLE, 3) == (AttemptOutcome.DEAD, 0)
    outcome, pause_s = verdict(ErrorClass.RATE_LIMITED, 1, retry_after_s=30)
    assert outcome is AttemptOutcome.RETRYING
    assert pause_s == 31.0
