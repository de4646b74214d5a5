"""The command line without a platform: help, arguments, payloads, settings."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from sophia.cli.main import SECTIONS, main
from sophia.cli.payload import build_payload
from sophia.cli.values import Moment, seconds_of


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("SOPHIA_URL", "SOPHIA_API_KEY", "SOPHIA_DATA_DIR", "SOPHIA_CONFIG", "SOPHIA_PROFILE"):
        monkeypatch.delenv(name, raising=False)


def run(*args: str, stdin: str | None = None):
    return CliRunner().invoke(main, list(args), input=stdin)


def test_help_names_every_command_and_imports_nothing_heavy():
    script = (
        "import sys\nfrom sophia.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'aiohttp', 'rich', 'yaml', 'redis', 'uvloop'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy))"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True).stdout
    assert "HEAVY []" in out
    for commands in SECTIONS.values():
        for name in commands:
            assert f"  {name} " in out


@pytest.mark.parametrize("name", [name for commands in SECTIONS.values() for name in commands])
def test_every_command_has_help(name):
    result = run(name, "--help")
    assert result.exit_code == 0
    assert "Usage: sophia" in result.stdout


def test_without_arguments_help_is_shown():
    result = run()
    assert result.exit_code == 0
    assert "Tasks:" in result.stdout


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["sumbit"], "did you mean 'submit'?"),
        (["xyzzy"], "no such command 'xyzzy'"),
        (["submit"], "Missing argument 'TYPE'"),
        (["submit", "light"], "give the prompt as an argument"),
        (["submit", "long_plannin", "x"], "did you mean long_planning?"),
        (["submit", "light", "two", "words"], "put quotes around it"),
        (["submit", "light", "x", "--url", "http://h"], "--platform-url"),
        (["submit", "light", "x", "--language", "go"], "--language is for code_generation"),
        (["submit", "light", "x", "--priority", "urgent"], "urgent"),
        (["submit", "light", "x", "--timeout", "soon"], "is not a duration"),
        (["submit", "light", "x", "--deadline", "soon"], "is not a time"),
        (["submit", "light", "x", "--label", "novalue"], "key=value"),
        (["submit", "light", "--payload", "{"], "not valid JSON"),
        (["submit", "light", "--payload", "[1]"], "must be a JSON object"),
        (["submit", "light", "--payload", "@absent.json"], "cannot be read"),
        (["submit", "batch_embedding", "--file", "absent.txt"], "cannot be read"),
        (["tasks", "--state", "done"], "done"),
        (["worker"], "--pool"),
        (["config", "chek"], "did you mean 'check'?"),
    ],
)
def test_bad_usage_is_status_2_and_says_what_would_be_right(args, expected):
    result = run(*args)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert expected in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("command", [["tasks"], ["submit", "light", "x"], ["watch", "t"], ["pools"]])
def test_without_a_platform_it_says_how_to_get_one(command):
    result = run(*command)
    assert result.exit_code == 5
    assert "make up" in result.stderr


def test_json_errors_are_one_document_too():
    result = run("tasks", "--json")
    assert json.loads(result.stdout)["error"]["code"] == "no_platform"
    assert result.stderr.startswith("error: ")


class TestPayload:
    @staticmethod
    def build(task_type: str, *texts: str, **more):
        given = {"file": None, "payload": None, "settings": (), "fields": {}} | more
        return build_payload(task_type, texts, **given)

    @pytest.mark.parametrize(
        ("task_type", "field"),
        [("long_planning", "goal"), ("code_generation", "prompt"), ("web_research", "question"), ("light", "prompt")],
    )
    def test_the_text_goes_where_the_type_wants_it(self, task_type, field):
        assert self.build(task_type, "words") == {field: "words"}

    def test_texts_by_argument_file_and_stdin(self, tmp_path, monkeypatch):
        assert self.build("batch_embedding", "a", "b") == {"texts": ["a", "b"]}
        (tmp_path / "t.txt").write_text("one\n\ntwo\r\n")
        assert self.build("batch_embedding", file=str(tmp_path / "t.txt")) == {"texts": ["one", "two"]}
        monkeypatch.setattr("sys.stdin", io.StringIO("one\ntwo\n"))
        assert self.build("batch_embedding", "-") == {"texts": ["one", "two"]}

    def test_later_sources_win_over_the_payload(self, tmp_path):
        (tmp_path / "p.json").write_text('{"prompt": "old", "temperature": 1}')
        built = self.build(
            "light",
            "new",
            payload=f"@{tmp_path / 'p.json'}",
            settings=[("temperature", "0"), ("system", "be brief"), ("a.b", "[1]")],
            fields={"model": "m", "max_tokens": None},
        )
        assert built == {"prompt": "new", "temperature": 0, "system": "be brief", "model": "m", "a": {"b": [1]}}

    def test_a_type_we_do_not_know_is_left_to_the_platform_when_its_payload_is_given(self):
        assert self.build("brand_new", payload='{"x": 1}') == {"x": 1}

    def test_text_that_is_not_utf8_is_refused(self, tmp_path):
        (tmp_path / "b").write_bytes(b"\xff\xfe")
        with pytest.raises(click.UsageError, match="UTF-8"):
            self.build("light", file=str(tmp_path / "b"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1.5m", 90), ("1h30m", 5400), ("2d", 172800), ("", None), ("m", None), ("-5", None)],
)
def test_durations(text, seconds):
    assert seconds_of(text) == seconds


def test_moments():
    soon = datetime.fromisoformat(Moment().convert("10m", None, None))
    assert timedelta(minutes=9) < soon - datetime.now(UTC) < timedelta(minutes=11)
    assert Moment().convert("2026-01-31T18:00:00+01:00", None, None) == "2026-01-31T18:00:00+01:00"
    assert datetime.fromisoformat(Moment().convert("2026-01-31T18:00", None, None)).tzinfo is not None


class TestConfig:
    def test_init_writes_a_file_that_is_right_and_never_overwrites(self, tmp_path):
        assert run("config", "init").exit_code == 0
        result = run("config", "check")
        assert (result.exit_code, result.stderr) == (0, "")
        assert str(tmp_path / "sophia.yaml") in result.stdout
        written = Path("sophia.yaml").read_text()
        result = run("config", "init")
        assert result.exit_code == 2
        assert "there already" in result.stderr
        assert Path("sophia.yaml").read_text() == written

    def test_what_init_has_in_comments_is_right_too(self, monkeypatch):
        run("config", "init")
        lines = Path("sophia.yaml").read_text().splitlines()
        start = next(i for i, line in enumerate(lines) if line.startswith("# providers:"))
        kept = [line.removeprefix("# ") for line in lines[start:] if line.startswith("# ") and not line.endswith(":  ")]
        text = "\n".join(line for line in kept if line.startswith(" ") or line.split(":")[0] in _KEYS)
        Path("sophia.yaml").write_text(text)
        monkeypatch.setenv("REDIS_URL", "redis://h")
        monkeypatch.setenv("DATABASE_URL", "postgresql://h/d")
        result = run("config", "check")
        assert result.exit_code == 0, result.stderr
        shown = yaml.safe_load(run("config", "show").stdout)
        assert next(iter(shown["models"])) == "llama3.2"
        assert shown["pools"]["cpu-workers"]["max"] == 4

    def test_check_names_the_key_and_the_mend(self):
        Path("sophia.yaml").write_text("pools:\n  embeding:\n    max: 2\n")
        result = run("config", "check")
        assert result.exit_code == 2
        assert "sophia.yaml:2" in result.stderr
        result = run("config", "check", "--json")
        assert json.loads(result.stdout)["error"]["code"] == "invalid_config"

    def test_check_hosted_names_the_variables(self):
        result = run("config", "check", "--profile", "hosted")
        assert result.exit_code == 2
        assert "REDIS_URL" in result.stderr

    def test_check_warns_of_tiers_that_nobody_serves(self, monkeypatch):
        urls = {"REDIS_URL": "redis://h", "DATABASE_URL": "postgresql://h/d", "OBJECTS_URL": "s3://b"}
        secrets = ("SOPHIA_API_KEY", "OBJECTS_ACCESS_KEY_ID", "OBJECTS_SECRET_ACCESS_KEY")
        for name, value in (urls | dict.fromkeys(secrets, "k")).items():
            monkeypatch.setenv(name, value)
        result = run("config", "check", "--profile", "hosted")
        assert result.exit_code == 0
        assert "no chat model in use serves tier fast, balanced, quality" in result.stderr
        assert "PORTKEY_API_KEY" in result.stderr

    def test_show_has_references_and_never_secrets(self, monkeypatch):
        monkeypatch.setenv("SOPHIA_API_KEY", "very-secret")
        monkeypatch.setenv("PORTKEY_API_KEY", "very-secret")
        result = run("config", "show", "--profile", "hosted")
        assert result.exit_code == 0
        assert "very-secret" not in result.output
        assert yaml.safe_load(result.stdout)["redis"]["url"] == {"env": "REDIS_URL"}
        assert json.loads(run("config", "show", "--json", "--section", "limits").stdout)["burst"] == 200
        assert "did you mean 'limits'?" in run("config", "show", "--section", "limit").stderr

    def test_schema_is_one_json_document_that_takes_the_users_file(self):
        schema = json.loads(run("config", "schema").stdout)
        assert schema["$id"]
        run("config", "init")
        jsonschema.Draft202012Validator(schema).validate(yaml.safe_load(Path("sophia.yaml").read_text()))
        assert "required" in json.loads(run("config", "schema", "--merged").stdout)["$defs"]["Settings"]


_KEYS = ("providers", "models", "pools", "redis", "ledger")


class TestDoctor:
    def test_reports_each_check_once_as_json(self, tmp_path):
        result = run("doctor", "--json", "--data-dir", str(tmp_path / "d"), "--port", "50000")
        report = json.loads(result.stdout)
        names = [check["name"] for check in report["checks"]]
        assert len(names) == len(set(names))
        assert {"python", "node", "settings", "data folder", "redis", "objects", "chat model", "embeddings"} <= set(
            names
        )
        assert result.exit_code == (0 if report["ok"] else 1)

    def test_wrong_settings_are_a_failure_with_their_mend(self):
        Path("sophia.yaml").write_text("qeue: {}")
        result = run("doctor")
        assert result.exit_code == 1
        assert "did you mean 'queue'?" in result.stdout

    def test_a_port_in_use_is_named(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            result = run("doctor", "--port", str(port))
        assert result.exit_code == 1
        assert "in use" in result.stdout

    def test_a_data_folder_that_cannot_be_written_is_named(self):
        Path("file").write_text("")
        result = run("doctor", "--data-dir", "file/below")
        assert result.exit_code == 1
        assert "cannot be written" in result.stdout
        assert "--data-dir" in result.stdout

    def test_a_redis_that_does_not_answer_is_named_without_its_password(self, monkeypatch):
        monkeypatch.setenv("SOPHIA_REDIS_URL", "redis://:hunter2@127.0.0.1:1/0")
        result = run("doctor")
        assert result.exit_code == 1
        assert "does not answer" in result.stdout
        assert "hunter2" not in result.output

    def test_a_bucket_is_tried_out_and_its_secret_not_shown(self, monkeypatch, bucket_server):
        good = bucket_server.settings(bucket_server.bucket())
        monkeypatch.setenv("OBJECTS_ACCESS_KEY_ID", good.access_key_id)
        monkeypatch.setenv("OBJECTS_ENDPOINT", good.endpoint)
        monkeypatch.setenv("SOPHIA_OBJECTS_URL", f"s3://{good.bucket}/tried")
        for secret, text in ((good.secret_access_key, "can be written and read"), ("hunter2", "refuses access")):
            monkeypatch.setenv("OBJECTS_SECRET_ACCESS_KEY", secret)
            result = run("doctor")
            assert text in result.stdout
            assert "hunter2" not in result.output


def test_version():
    assert json.loads(run("version", "--json").stdout)["version"] in run("version").stdout
