"""Which server the queue's engine needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from sophia.nouns.errors import ConfigError
from sophia.settings.load import load

HOSTED = {"DATABASE_URL": "postgresql://h/d", "SOPHIA_API_KEY": "k", "REDIS_URL": "redis://r", "NATS_URL": "nats://n"}


def config(tmp_path: Path, engine: str) -> Path:
    path = tmp_path / "sophia.yaml"
    path.write_text(f"queue: {{engine: {engine}}}\n")
    return path


def test_only_the_chosen_engines_server_is_asked_for(tmp_path: Path) -> None:
    path = config(tmp_path, "jetstream")
    loaded = load(path, tmp_path, {"SOPHIA_PROFILE": "local"})
    assert (loaded.redis_url, loaded.nats_url) == (None, None)
    loaded = load(path, tmp_path, {"SOPHIA_PROFILE": "local", "SOPHIA_NATS_URL": "nats://elsewhere:4222"})
    assert loaded.nats_url == "nats://elsewhere:4222"
    with pytest.raises(ConfigError, match="NATS_URL"):
        load(path, tmp_path, {**HOSTED, "SOPHIA_PROFILE": "hosted", "NATS_URL": "", "REDIS_URL": ""})


def test_another_protocol_or_engine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nats://"):
        load(config(tmp_path, "jetstream"), tmp_path, {"SOPHIA_NATS_URL": "redis://r"})
    with pytest.raises(ConfigError, match="engine"):
        load(config(tmp_path, "rabbit"), tmp_path, {})
