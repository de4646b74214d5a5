"""A wrong sophia.yaml is refused with file, line, key, what is wrong and what would be right."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sophia.nouns.errors import ConfigError
from sophia.settings.document import parse_document
from sophia.settings.load import load, merged_settings, packaged_values


def refusal(tmp_path: Path, text: str) -> str:
    path = tmp_path / "sophia.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        merged_settings(path, {})
    assert str(path) in raised.value.message
    return f"{raised.value.message}; {raised.value.mend or ''}"


WINDOW = 'pools: {inference: {windows: [{days: [%s], start: "09:00", end: "18:00", time_zone: %s, min: %d, max: 3}]}}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("qeue: {}", ["qeue is not a known key", "did you mean 'queue'?", ":1:"]),
        ("queue:\n  retry:\n    max_atempts: 3", [":3:", "queue.retry.max_atempts", "did you mean 'max_attempts'?"]),
        ("pools:\n  embedding: {maximum: 3}", ["pools.embedding.maximum is not a known key"]),
        ("pools: {embedding: {max: many}}", ["pools.embedding.max must be a whole number", "not text"]),
        ("pools: {embedding: {max: -1}}", ["pools.embedding.max must be a whole number >= 0"]),
        ("server: {port: 99999}", ["server.port must be a whole number <= 65535"]),
        ("server: [1]", ["server must be a mapping, not a list"]),
        ("routes: {}", ["routes must be a list, not a mapping"]),
        ("routes: []", ["routes must end with a row without conditions"]),
        ("routes: [{tiers: [qualty], stream: light, target: cpu}]", ["routes[0].tiers[0]", "did you mean 'quality'?"]),
        ("routes: [{stream: lite, target: cpu}]", ["routes[0].stream", "'lite'", "did you mean 'light'?"]),
        (
            "routes: [{types: [planing], stream: light, target: cpu}, {stream: light, target: cpu}]",
            ["routes[0].types[0]"],
        ),
        ("routes: [{stream: light, target: cpu}, {stream: light, target: cpu}]", ["never reached", "put it last"]),
        ("routes: [{target: cpu}]", ["routes[0].stream is missing"]),
        ("queue: {heartbeat_s: 10, lease_s: 15}", ["queue.heartbeat_s is 10", "queue.lease_s is 15"]),
        ("queue: {streams: [planning, coding, embedding, research, light, extra]}", ["'extra', which no pool"]),
        ("queue: {retry: {base_s: 90}}", ["queue.retry has base_s 90 above max_s 60"]),
        ("pools: {embedding: {min: 5}}", ["pools.embedding has min 5 above max 1"]),
        ("pools: {embedding: {max: 0}}", ["'embedding', which no pool that may run serves"]),
        ("pools: {embedding: {streams: [embeding]}}", ["pools.embedding.streams[0]", "did you mean 'embedding'?"]),
        (WINDOW % ("mon", "Mars/Base", 0), ["windows[0].time_zone", "Mars/Base", "America/Los_Angeles"]),
        (WINDOW % ("mon", "UTC", 4), ["windows[0] has min 4 above max 3"]),
        (WINDOW % ("monday", "UTC", 0), ["windows[0].days[0] is not a day"]),
        ("models: {gpt-5: {providers: {opnai: gpt-5}}}", ["models.gpt-5.providers.opnai", "did you mean 'openai'?"]),
        ("models: {gpt-5: {tiers: [fastest]}}", ["models.gpt-5.tiers[0]", "did you mean 'fast'?"]),
        ("models: {e: {kind: embedding, providers: {openai: e}}}", ["models.e.dimensions is missing"]),
        ("tasks: {light: {model: gpt5}}", ["tasks.light.model", "did you mean 'gpt-5'?"]),
        ("tasks: {light: {model: all-minilm-l6-v2}}", ["must be a model of kind chat, not embedding"]),
        ("tasks: {lite: {max_tokens: 1, temperature: 0, timeout_s: 1}}", ["tasks.lite is not a task type"]),
        ("providers: {Big: {kind: openai, base_url: http://x}}", ["providers.Big is not a valid name"]),
        ("providers: {x: {kind: openai}}", ["providers.x has neither base_url nor base_url_env"]),
        ("profile: lokal", ["profile is not a known profile"]),
        ("- a\n- b", ["must be a mapping of settings, not a list"]),
        ("a: [1", [":1:", "not valid YAML"]),
        ("limits: {burst: 1}\nlimits: {burst: 2}", [":2:", "limits is given twice (first on line 1)"]),
        ("limits:\n  burst: 1\n  burst: 2", ["limits.burst is given twice"]),
        ("7: x", ['write it as "7"']),
        ("queue: &q\n  retry: *q", ["contains itself"]),
    ],
)
def test_each_mistake_is_named(tmp_path, text, expected):
    message = refusal(tmp_path, text)
    for part in expected:
        assert part in message


@pytest.mark.parametrize(
    "text",
    [
        "redis: {url: 'redis://:hunter2@h'}",
        "auth: {api_keys: [{tenant: a, key: hunter2}]}",
        "providers: {x: {kind: openai, base_url: http://h, api_key: hunter2}}",
        "providers: {x: {kind: openai, base_url: http://h, headers: {x-api-key: hunter2}}}",
        "providers: {x: {kind: openai, base_url: 'http://u:hunter2@h'}}",
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_repeated(tmp_path, text):
    message = refusal(tmp_path, text)
    assert "env" in message
    assert "hunter2" not in message


def test_all_mistakes_are_told_at_once(tmp_path):
    message = refusal(tmp_path, "qeue: {}\nlimits:\n  burst: x\npools:\n  embedding:\n    max: -1\n")
    assert len(message.splitlines()) == 3


def test_scalars_are_read_as_yaml_1_2(tmp_path):
    values = parse_document("a: 18:00\nb: no\nc: 1e3\nd: 010\ne: 2024-01-01\nf: ~\ng: true\nh: -1.5", "x").values
    assert values == {
        "a": "18:00",
        "b": "no",
        "c": 1000.0,
        "d": "010",
        "e": "2024-01-01",
        "f": None,
        "g": True,
        "h": -1.5,
    }


def test_a_file_that_is_named_must_exist(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "absent.yaml", None, {})
    with pytest.raises(ConfigError, match="cannot be read"):
        load(None, None, {"SOPHIA_CONFIG": str(tmp_path / "absent.yaml")})
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path, None, {})


def _paths(values: object, path: tuple[str, ...] = ()):
    if isinstance(values, dict):
        for key, value in values.items():
            yield (*path, key)
            yield from _paths(value, (*path, key))


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(sorted(_paths(packaged_values("local")))), st.sampled_from(["text", -7, [], {"zz": 1}, True]))
def test_no_value_anywhere_gives_anything_but_a_config_error(tmp_path_factory, path, value):
    tree: object = value
    for key in reversed(path):
        tree = {key: tree}
    file = tmp_path_factory.mktemp("c") / "sophia.yaml"
    file.write_text(yaml.safe_dump(tree))
    with contextlib.suppress(ConfigError):
        merged_settings(file, {})
