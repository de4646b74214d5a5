"""Providers whose models are served by a pool of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from sophia.nouns.errors import ConfigError
from sophia.settings.load import load


def test_the_packaged_gpu_pool_can_be_taken_out(tmp_path: Path):
    (tmp_path / "sophia.yaml").write_text("pools: {vllm: null}\n")
    loaded = load(tmp_path / "sophia.yaml", tmp_path, {}, "local")
    assert "vllm" not in loaded.settings.pools
    assert "vllm_pool" not in loaded.providers


def test_a_provider_of_ones_own_names_a_pool_that_is_there(tmp_path: Path):
    (tmp_path / "sophia.yaml").write_text("providers: {mine: {kind: pool, pool: vlm}}\n")
    with pytest.raises(ConfigError, match=r"providers\.mine\.pool names the pool 'vlm', which is not defined"):
        load(tmp_path / "sophia.yaml", tmp_path, {}, "local")
