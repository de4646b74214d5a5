"""Loading sophia.yaml: sources, profiles, variables."""

from __future__ import annotations

import os
from pathlib import Path

import jsonschema
import pytest

from sophia.nouns.errors import ConfigError
from sophia.nouns.task import Tier
from sophia.settings.load import load, merged_settings, packaged_values
from sophia.settings.resolve import model_of_tier, usable_models
from sophia.settings.schema import json_schema

HOSTED = {
    "REDIS_URL": "rediss://h:6379",
    "DATABASE_URL": "postgresql://h/db",
    "OBJECTS_URL": "s3://big/things",
    "OBJECTS_ACCESS_KEY_ID": "id-of-objects",
    "OBJECTS_SECRET_ACCESS_KEY": "secret-of-objects",
    "SOPHIA_API_KEY": "key-of-default",
}


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(folder: Path, text: str, name: str = "sophia.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_nothing_given_is_the_local_profile_embedded(tmp_path):
    loaded = load(None, None, {})
    assert loaded.settings.profile == "local"
    assert (loaded.redis_url, loaded.ledger_url, loaded.config_path) == (None, None, None)
    assert loaded.data_dir == tmp_path / ".sophia"
    assert loaded.api_keys == ()
    assert loaded.providers == {}
    assert {name: pool.provider for name, pool in loaded.settings.pools.items()} == dict.fromkeys(
        loaded.settings.pools, "local"
    )


@pytest.mark.parametrize("profile", ["local", "hosted", "emulated"])
@pytest.mark.parametrize("partial", [False, True])
def test_packaged_files_satisfy_the_published_schema(profile, partial):
    schema = json_schema(partial=partial)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(packaged_values(profile))


def test_the_schema_of_the_file_accepts_a_part_and_refuses_unknown_keys():
    validator = jsonschema.Draft202012Validator(json_schema(partial=True))
    assert validator.is_valid({"pools": {"embedding": {"max": 2}, "vllm": None}})
    assert not validator.is_valid({"pools": {"embedding": {"maxx": 2}}})
    assert not validator.is_valid({"routes": [{"target": "cpu"}]})


def test_profiles_differ_only_in_adapters_sizes_and_timeouts():
    hosted, local = packaged_values("hosted"), packaged_values("local")
    for section in ("routes", "caches", "limits", "websocket", "metrics", "tasks", "fly", "fly_apps", "costs"):
        assert hosted[section] == local[section], section
    assert hosted["queue"]["streams"] == local["queue"]["streams"]
    for name, pool in hosted["pools"].items():
        assert pool["streams"] == local["pools"][name]["streams"]
    assert set(hosted["models"]) < set(local["models"])


def test_the_emulated_profile_never_reaches_the_real_cloud(tmp_path):
    environ = {"LAMBDA_API_KEY": "real", "SOPHIA_LAMBDA_URL": "https://cloud.lambda.ai/api/v1"}
    assert load(None, tmp_path, environ, "emulated").lambda_cloud is None
    own = {"SOPHIA_EMULATED_CLOUD_KEY": "k", "SOPHIA_EMULATED_CLOUD_URL": "http://127.0.0.1:2/api/v1"}
    resolved = load(None, tmp_path, environ | own, "emulated").lambda_cloud
    assert resolved is not None
    assert (resolved.base_url, resolved.api_key) == ("http://127.0.0.1:2/api/v1", "k")


def test_the_users_file_is_merged_deeply_and_lists_are_replaced(tmp_path):
    path = write(tmp_path, "pools: {cpu-workers: {max: 5, regions: [fra]}}\nqueue: {retry: {max_attempts: 7}}\n")
    settings = merged_settings(path, {})
    assert settings.pools["cpu-workers"].max == 5
    assert settings.pools["cpu-workers"].regions == ("fra",)
    assert settings.pools["cpu-workers"].slots == 4
    assert settings.queue.retry.max_attempts == 7
    assert settings.queue.retry.max_s == 60


def test_null_removes_a_packaged_entry(tmp_path):
    settings = merged_settings(write(tmp_path, "models: {text-embedding-3-small: null}"), {})
    assert "text-embedding-3-small" not in settings.models
    assert "gpt-5" in settings.models


@pytest.mark.parametrize(
    ("argument", "environ", "file", "expected"),
    [
        (None, {}, "", "local"),
        (None, {}, "profile: hosted", "hosted"),
        (None, {"SOPHIA_PROFILE": "local"}, "profile: hosted", "local"),
        ("hosted", {"SOPHIA_PROFILE": "local"}, "profile: local", "hosted"),
    ],
)
def test_profile_is_chosen_by_argument_then_variable_then_file(tmp_path, argument, environ, file, expected):
    assert merged_settings(write(tmp_path, file), environ, argument).profile == expected


def test_config_and_data_folder_by_variable(tmp_path):
    path = write(tmp_path, "limits: {burst: 7}", "other.yaml")
    loaded = load(None, None, {"SOPHIA_CONFIG": str(path), "SOPHIA_DATA_DIR": str(tmp_path / "d")})
    assert loaded.settings.limits.burst == 7
    assert loaded.config_path == path
    assert loaded.data_dir == tmp_path / "d"
    assert load(None, tmp_path / "e", {"SOPHIA_DATA_DIR": "d"}).data_dir == tmp_path / "e"


@pytest.mark.parametrize("url", ["redis://h:1/0", "rediss://:pw@h", "unix:///run/redis.sock"])
def test_redis_url_forms(url):
    assert load(None, None, {"SOPHIA_REDIS_URL": url}).redis_url == url


def test_embedded_servers_are_in_use_when_their_addresses_are_passed_down():
    loaded = load(
        None, None, {"SOPHIA_LLAMA_URL": "http://127.0.0.1:1/v1/", "SOPHIA_EMBEDDER_URL": "http://127.0.0.1:2/v1"}
    )
    assert loaded.providers["llama_embedded"].base_url == "http://127.0.0.1:1/v1"
    assert loaded.providers["onnx_embedded"].headers == {}


def test_hosted_with_its_variables():
    loaded = load(
        None, None, HOSTED | {"PORTKEY_API_KEY": "pk", "VLLM_BASE_URL": "https://g/v1", "VLLM_API_KEY": "v"}, "hosted"
    )
    assert loaded.redis_url == HOSTED["REDIS_URL"]
    assert loaded.ledger_url == HOSTED["DATABASE_URL"]
    assert [(key.tenant, key.key) for key in loaded.api_keys] == [("default", "key-of-default")]
    assert loaded.providers["portkey"].headers == {"x-portkey-api-key": "pk", "x-portkey-provider": "@openai"}
    assert loaded.providers["vllm"].headers == {"Authorization": "Bearer v"}
    assert loaded.settings.tasks["code_generation"].model == "deepseek-coder-33b"


def test_a_bucket_with_its_endpoint():
    loaded = load(None, None, HOSTED | {"OBJECTS_ENDPOINT": "https://acc.r2.cloudflarestorage.com/"}, "hosted")
    objects = loaded.objects
    assert objects is not None
    assert (objects.bucket, objects.prefix, objects.region) == ("big", "things", "auto")
    assert objects.endpoint == "https://acc.r2.cloudflarestorage.com"
    assert "secret-of-objects" not in repr(loaded) + repr(objects)
    assert load(None, None, {}).objects is None


def test_a_bucket_in_the_file_needs_its_secrets(tmp_path):
    path = write(tmp_path, "objects: {url: 's3://mine', access_key_id: null}")
    with pytest.raises(ConfigError) as raised:
        load(path, None, {})
    assert "objects.access_key_id: is needed with a bucket" in raised.value.message
    assert "OBJECTS_SECRET_ACCESS_KEY" in raised.value.message
    with pytest.raises(ConfigError, match="must begin with s3://"):
        load(None, None, {"SOPHIA_OBJECTS_URL": "http://bucket"})


def test_hosted_names_every_missing_variable_and_no_value():
    with pytest.raises(ConfigError) as raised:
        load(
            None,
            None,
            {"VLLM_BASE_URL": "https://private.example/v1", "SOPHIA_LEDGER_URL": "mysql://u:hidden@h"},
            "hosted",
        )
    text = raised.value.message
    for name in (
        "REDIS_URL",
        "SOPHIA_REDIS_URL",
        "SOPHIA_API_KEY",
        "VLLM_API_KEY",
        "SOPHIA_LEDGER_URL",
        "OBJECTS_URL",
    ):
        assert name in text
    assert "hidden" not in text
    assert "private.example" not in text


def test_what_is_loaded_never_shows_its_secrets():
    loaded = load(None, None, {"OPENAI_API_KEY": "sk-hidden", "SOPHIA_API_KEY": "own-hidden"})
    assert "hidden" not in repr((loaded, loaded.providers, loaded.api_keys))


class TestModelsByKeysInTheEnvironment:
    """What a request without a model gets, in each situation."""

    @staticmethod
    def by_tier(environ: dict[str, str]) -> tuple[str | None, ...]:
        loaded = load(None, None, environ)
        usable = usable_models(loaded.settings, loaded.providers)
        return tuple(model_of_tier(loaded.settings, usable, "chat", tier) for tier in Tier)

    def test_no_key_is_the_small_local_model(self):
        assert self.by_tier({}) == ("smollm2-135m-instruct",) * 3
        defaults = load(None, None, {}).settings.tasks["long_planning"]
        assert defaults.model is None

    @pytest.mark.parametrize("name", ["PORTKEY_API_KEY", "OPENAI_API_KEY"])
    def test_a_key_is_enough_for_the_frontier_model(self, name):
        assert self.by_tier({name: "k"}) == ("gpt-5",) * 3
        defaults = load(None, None, {name: "k"}).settings.tasks["long_planning"]
        assert (defaults.model, defaults.max_tokens, defaults.temperature) == ("gpt-5", 8000, 0.2)

    def test_another_base_url_with_and_without_a_key(self):
        with_key = load(None, None, {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://h:1/v1"}).providers
        assert with_key["openai"].base_url == "http://h:1/v1"
        assert with_key["openai"].headers == {"Authorization": "Bearer k"}
        without = load(None, None, {"OPENAI_BASE_URL": "http://h:1/v1"}).providers
        assert {n: p.headers for n, p in without.items()} == {"openai_keyless": {}}
        assert self.by_tier({"OPENAI_BASE_URL": "http://h:1/v1"}) == ("gpt-5",) * 3

    def test_own_gpus_before_the_frontier_model(self):
        environ = {"VLLM_BASE_URL": "http://g/v1", "VLLM_API_KEY": "v", "OPENAI_API_KEY": "k"}
        assert self.by_tier(environ) == ("mixtral-8x7b", "qwen-72b-chat", "gpt-5")

    def test_a_key_never_changes_the_default_embedding_model(self):
        settings = load(None, None, {"OPENAI_API_KEY": "k"}).settings
        assert model_of_tier(settings, frozenset(settings.models) - {"bge-large-en-v1.5"}, "embedding", Tier.FAST) == (
            "all-minilm-l6-v2"
        )

    def test_the_users_own_model_comes_first(self, tmp_path):
        write(
            tmp_path,
            "providers: {mine: {kind: openai, base_url: http://h/v1}}\n"
            "models: {smollm2-135m-instruct: {max_output_tokens: 50}, m: {kind: chat, providers: {mine: m}, tiers: [fast]}}\n",
        )
        assert self.by_tier({}) == ("m", "smollm2-135m-instruct", "smollm2-135m-instruct")


def test_no_variable_of_this_process_is_read(monkeypatch):
    monkeypatch.setitem(os.environ, "SOPHIA_REDIS_URL", "redis://elsewhere")
    assert load(None, None, {}).redis_url is None
