"""Names and tiers to models, prices to nano-dollars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sophia.inference.base import ModelCard
from sophia.inference.catalog import IN_PROCESS, Catalog, priced
from sophia.nouns.errors import InvalidInput
from sophia.nouns.usage import Usage
from sophia.settings.load import merged_settings
from sophia.settings.resolve import resolve

LLAMA = {"SOPHIA_LLAMA_URL": "http://127.0.0.1:1/v1"}
EMBEDDER = {"SOPHIA_EMBEDDER_URL": "http://127.0.0.1:2/v1"}
OPENAI = {"OPENAI_API_KEY": "sk-test"}
PORTKEY = {"PORTKEY_API_KEY": "pk-test"}


def catalog(*environs: dict[str, str], in_process: tuple[str, ...] = ()) -> Catalog:
    environ = {"SOPHIA_PROFILE": "local"}
    for more in environs:
        environ |= more
    loaded = resolve(merged_settings(None, environ), environ, config_path=None, data_dir=Path("unused"))
    return Catalog(loaded.settings, loaded.providers, in_process)


def test_only_models_that_something_serves_are_listed():
    assert [card.id for card in catalog(LLAMA, EMBEDDER).cards()] == ["smollm2-135m-instruct", "all-minilm-l6-v2"]
    assert [card.id for card in catalog().cards()] == []


def test_a_tier_takes_the_first_model_that_lists_it():
    local = catalog(LLAMA)
    assert {local.resolve(None, kind="chat", tier=tier).id for tier in ("fast", "balanced", "quality")} == {
        "smollm2-135m-instruct"
    }
    hosted = catalog(LLAMA, OPENAI).resolve(None, kind="chat", tier="quality")
    assert (hosted.id, hosted.provider, hosted.upstream_model) == ("gpt-5", "openai", "gpt-5")


def test_the_first_provider_in_use_serves():
    assert catalog(OPENAI, PORTKEY).resolve("gpt-5", kind="chat", tier="fast").provider == "portkey"


def test_a_model_embedded_in_this_process_needs_no_provider():
    card = catalog(in_process=("all-minilm-l6-v2",)).resolve(None, kind="embedding", tier="fast")
    assert (card.id, card.provider) == ("all-minilm-l6-v2", IN_PROCESS)


@pytest.mark.parametrize(
    ("model", "kind", "message", "mend"),
    [
        ("smollm2-135m-instuct", "chat", "unknown model 'smollm2-135m-instuct'", "nearest: smollm2-135m-instruct"),
        ("nothing-like-it", "chat", "unknown model", "chat models in use: smollm2-135m-instruct"),
        ("gpt-5", "chat", "nothing in use serves 'gpt-5'", "PORTKEY_API_KEY"),
        ("all-minilm-l6-v2", "chat", "is not a chat model but an embedding model", "smollm2-135m-instruct"),
        ("smollm2-135m-instruct", "embedding", "is not an embedding model but a chat model", "all-minilm-l6-v2"),
    ],
)
def test_errors_name_what_would_do(model: str, kind: str, message: str, mend: str):
    with pytest.raises(InvalidInput) as raised:
        catalog(LLAMA, EMBEDDER).resolve(model, kind=kind, tier="fast")
    assert raised.value.field == "model"
    assert message in raised.value.message
    assert mend in str(raised.value.mend)


def test_no_model_in_use():
    with pytest.raises(InvalidInput, match="no chat model in use serves tier 'fast'") as raised:
        catalog().resolve(None, kind="chat", tier="fast")
    assert raised.value.mend == "no chat model is in use"


@pytest.mark.parametrize(
    ("usage", "nano_usd"),
    [
        (Usage(input_tokens=1), 1_250),
        (Usage(output_tokens=1), 10_000),
        (Usage(input_tokens=1_000_000, output_tokens=1_000_000), 11_250_000_000),
        (Usage(), 0),
    ],
)
def test_prices_are_exact_to_the_nano_dollar(usage: Usage, nano_usd: int):
    card = catalog(OPENAI).resolve("gpt-5", kind="chat", tier="fast")
    assert priced(card, usage).cost_nano_usd == nano_usd
    assert priced(card, usage).input_tokens == usage.input_tokens


def test_embedding_tokens_cost_the_input_price():
    fields: dict[str, Any] = {"id": "e", "kind": "embedding", "provider": "p", "upstream_model": "e"}
    card = ModelCard(**fields, usd_per_1k_input_tokens=0.00002)
    assert priced(card, Usage(embedding_tokens=7)).cost_nano_usd == 140
