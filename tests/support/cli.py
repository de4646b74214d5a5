"""The command line against a scripted platform."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sophia.cli.main import main
from sophia.client import api as client_api
from tests.support.scripted_api import ScriptedApi


@pytest.fixture
def scripted_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedApi]:
    """A scripted platform that ``client.json`` of the current folder names."""
    monkeypatch.chdir(tmp_path)
    for name in ("SOPHIA_URL", "SOPHIA_API_KEY", "SOPHIA_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(client_api, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(client_api, "LONGEST_PAUSE_S", 0.002)
    with ScriptedApi() as scripted:
        (tmp_path / ".sophia").mkdir()
        body = {"url": scripted.url, "websocket_url": "ws://h/ws", "api_key": "key-1", "pid": 7}
        (tmp_path / ".sophia" / "client.json").write_text(json.dumps(body))
        yield scripted


def run(*args: str) -> Result:
    """Without the width of the terminal that the tests happen to run in: it cuts columns short."""
    return CliRunner(env={"COLUMNS": None}).invoke(main, list(args))
