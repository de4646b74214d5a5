"""Set-up documents of GPU hosts, checked by the tools that will read them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import yaml

from sophia.app.gpu_hosts import host_documents, served_models
from sophia.hosts.cloud_init import user_data
from sophia.hosts.tokens import RedisJoinTokens
from sophia.nouns.errors import InvalidInput
from sophia.nouns.pool import Offer
from sophia.providers.base import LaunchRequest
from sophia.providers.lambda_cloud.wire import MAX_USER_DATA_BYTES
from sophia.settings.load import load
from tests.support.gpu_hosts import host_plan


def tool(name: str) -> str:
    """Its path. Skips where it is not installed; continuous integration must have it."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None and os.environ.get("CI") == "true":
        pytest.fail(f"{name} is not installed")
    if found is None:
        pytest.skip(f"{name} is not installed; scripts/ensure-test-packages installs it")
    return found


def files(document: str) -> dict[str, dict[str, str]]:
    return {file["path"]: file for file in yaml.safe_load(document)["write_files"]}


def test_cloud_init_takes_the_document(tmp_path):
    path = tmp_path / "user-data"
    path.write_text(user_data(host_plan()))
    checked = subprocess.run(
        [tool("cloud-init"), "schema", "--config-file", str(path)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "Valid" in checked.stdout


def test_shellcheck_finds_nothing(tmp_path):
    scripts = {path: file for path, file in files(user_data(host_plan())).items() if path.startswith("/opt/sophia/")}
    assert len(scripts) == 4
    for path, file in scripts.items():
        assert file["permissions"] == "0755"
        written = tmp_path / Path(path).name
        written.write_text(file["content"])
        # host.env is written beside them; its names are upper-case and read only.
        checked = subprocess.run(
            [tool("shellcheck"), "--exclude", "SC1091", str(written)], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stdout


def test_systemd_takes_the_units(tmp_path):
    units = {path: file for path, file in files(user_data(host_plan())).items() if path.startswith("/etc/systemd/")}
    assert len(units) == 4
    for path, file in units.items():
        # The commands of the host are not on this machine.
        content = "\n".join(
            f"{line.partition('=')[0]}=/bin/true" if line.startswith("Exec") else line
            for line in file["content"].replace("\\\n", " ").splitlines()
            if not line.startswith(("Requires=", "After=", "Wants="))
        )
        (tmp_path / Path(path).name).write_text(content)
    checked = subprocess.run(
        [tool("systemd-analyze"), "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )
    complaints = [line for line in checked.stderr.splitlines() if "sophia-" in line]
    assert complaints == []


def test_nothing_secret_is_in_it_but_the_token():
    document = user_data(host_plan())
    assert document.startswith("#cloud-config\n")
    assert len(document.encode()) < MAX_USER_DATA_BYTES
    written = files(document)
    assert written["/etc/sophia/join-token"]["permissions"] == "0600"
    assert document.count("token-of-this-host") == 1
    runner = written["/etc/systemd/system/sophia-runner.service"]["content"]
    assert "Restart=always\nRestartSec=10\n" in runner
    # A worker that was abandoned is not started again: its host ends.
    assert "RestartPreventExitStatus=75" in runner
    assert "SOPHIA_END_AFTER_S=1050" in written["/etc/sophia/host.env"]["content"]


def test_models_are_served_as_the_fit_check_said():
    unit = files(user_data(host_plan()))["/etc/systemd/system/sophia-vllm-mixtral-8x7b.service"]["content"]
    assert "mistralai/Mixtral-8x7B-Instruct-v0.1 --served-model-name mixtral-8x7b --host 127.0.0.1 --port 8000" in unit
    assert "--max-model-len 8192 --gpu-memory-utilization 0.92 --tensor-parallel-size 2" in unit


@pytest.mark.parametrize("changes", [{"instance_id": "x; reboot"}, {"pool": "a b"}, {"join_url": "http://plain"}])
def test_what_cannot_stand_in_a_document_is_refused(changes):
    with pytest.raises(InvalidInput):
        user_data(host_plan(**changes))


async def test_a_launch_gets_a_document_with_a_token_of_its_own(tmp_path, redis_url, redis_client):
    loaded = load(None, tmp_path, {"SOPHIA_REDIS_URL": redis_url}, "local")
    assert host_documents(loaded) is None
    hosts = msgspec.structs.replace(loaded.settings.gpu_hosts, join_url="https://api.example.com")
    hosted = load(None, tmp_path, {}, "local").settings
    loaded = msgspec.structs.replace(loaded, settings=msgspec.structs.replace(hosted, gpu_hosts=hosts))
    document = host_documents(loaded)
    assert document is not None
    spec = loaded.settings.pools["vllm"]
    offer = Offer(instance_type="gpu_1x_h100_pcie", region="us-west-1", price_usd_per_hour=3.29, available=True)
    request = LaunchRequest(instance_id="vllm-1", pool="vllm", spec=spec, offer=offer)
    first, second = await document(request), await document(request)
    token = files(first)["/etc/sophia/join-token"]["content"]
    assert token != files(second)["/etc/sophia/join-token"]["content"]
    joined = await RedisJoinTokens(redis_client).exchange(token, "key-of-the-host", "10.0.0.1")
    assert (joined.instance_id, joined.pool) == ("vllm-1", "vllm")


def test_a_pools_models_share_its_gpu(tmp_path):
    loaded = load(None, tmp_path, {}, "local")
    spec = msgspec.structs.replace(loaded.settings.pools["vllm"], models=("deepseek-coder-33b",))
    (served,) = served_models(loaded, spec, "gpu_1x_h100_pcie")
    assert served.fit.fits
    assert served.repository == "deepseek-ai/deepseek-coder-33b-instruct"
    assert served_models(loaded, spec, "process") == []
