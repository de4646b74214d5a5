"""Worker processes as machines: identity, adoption, signals, tether, logs."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import msgspec
import pytest

from sophia.nouns.errors import InvalidInput, Unavailable
from sophia.nouns.pool import PoolSpec
from sophia.providers import worker_logs
from sophia.providers.base import LaunchRequest
from sophia.providers.instance_files import InstanceFiles
from sophia.providers.local import LocalProvider
from sophia.providers.processes import ProcessMark
from tests.support.child_processes import OBEDIENT, PARENT, STUBBORN, TETHERED, is_alive, says_up
from tests.support.waiting import eventually

SPEC = PoolSpec(
    provider="local", streams=("light",), instance_types=("process",), min=0, max=3, idle_timeout_s=60.0, slots=1
)


@pytest.fixture
async def folder(tmp_path):
    yield tmp_path
    provider = provider_in(tmp_path)
    for machine in await provider.machines():
        await provider.terminate(machine.ref)


def provider_in(folder, command=OBEDIENT, tether_fd=None) -> LocalProvider:
    return LocalProvider(lambda _: command, folder, {"PATH": os.environ["PATH"]}, tether_fd)


async def request_for(provider, name="cpu-1") -> LaunchRequest:
    return LaunchRequest(instance_id=name, pool="cpu", spec=SPEC, offer=(await provider.offers(SPEC))[0])


async def launched(provider, folder, name="cpu-1") -> int:
    """Launch and wait until the program runs; its pid."""
    await provider.launch(await request_for(provider, name))
    await eventually(lambda: says_up(folder / "logs" / f"{name}.log"))
    return pid_of(folder, name)


def pid_of(folder, name="cpu-1") -> int:
    instance = InstanceFiles(folder / "instances").read(name)
    assert instance is not None
    assert instance.process is not None
    return instance.process.pid


async def names(provider) -> list[str]:
    return [machine.name for machine in await provider.machines()]


async def test_a_launch_is_idempotent_by_instance_id(folder):
    providers = [provider_in(folder), provider_in(folder)]
    request = await request_for(providers[0])
    machines = await asyncio.gather(*(providers[n % 2].launch(request) for n in range(12)))
    assert len({machine.started_at_ms for machine in machines}) == 1
    assert await names(providers[0]) == ["cpu-1"]


async def test_workers_survive_a_launcher_that_is_killed_and_are_adopted(folder):
    launcher = f"""
import asyncio, os, signal
from pathlib import Path
from tests.integration.test_local_provider import launched, provider_in
folder = Path({str(folder)!r})
asyncio.run(launched(provider_in(folder), folder))
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", launcher], timeout=60, check=False)
    assert done.returncode == -9
    pid = pid_of(folder)
    assert is_alive(pid)
    provider = provider_in(folder)
    assert await names(provider) == ["cpu-1"]
    await provider.terminate("cpu-1")
    assert not is_alive(pid)
    assert await names(provider) == []


async def test_a_process_whose_pid_was_never_noted_is_found_by_its_environment(folder):
    provider = provider_in(folder)
    pid = await launched(provider, folder)
    files = InstanceFiles(folder / "instances")
    instance = files.read("cpu-1")
    assert instance is not None
    files.write(msgspec.structs.replace(instance, process=None))
    assert await names(provider) == ["cpu-1"]
    assert pid_of(folder) == pid


async def test_a_recycled_pid_is_never_signalled(folder):
    provider = provider_in(folder)
    pid = await launched(provider, folder)
    files = InstanceFiles(folder / "instances")
    instance = files.read("cpu-1")
    assert instance is not None
    other = msgspec.structs.replace(instance, id="cpu-2", process=ProcessMark(pid, "another boot:1"))
    files.write(other)
    await provider.terminate("cpu-2")
    assert is_alive(pid)
    assert await names(provider) == ["cpu-1"]


async def test_a_damaged_file_does_not_hide_its_process(folder):
    provider = provider_in(folder)
    await launched(provider, folder)
    (folder / "instances" / "cpu-1.json").write_text("{")
    assert [(m.name, m.pool) for m in await provider.machines()] == [("cpu-1", "")]


async def test_terminate_ends_a_stubborn_worker_and_what_it_started(folder):
    stubborn = provider_in(folder, STUBBORN)
    pid = await launched(stubborn, folder)
    await stubborn.drain("cpu-1")
    (machine,) = await stubborn.machines()
    assert machine.state == "stopping"
    assert is_alive(pid)
    await stubborn.terminate("cpu-1")
    assert not is_alive(pid)


async def test_what_a_worker_left_behind_is_killed_when_its_end_is_noticed(folder):
    provider = provider_in(folder, PARENT)
    pid = await launched(provider, folder)
    left_behind = await eventually(lambda: sleepers(pid))
    await provider.drain("cpu-1")

    async def gone() -> bool:
        return await names(provider) == []

    await eventually(gone)
    await eventually(lambda: not any(is_alive(child) for child in left_behind))


def sleepers(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if "sleep 1000" in line]


async def test_a_worker_dies_with_its_supervisor_by_the_tether(folder):
    reading, writing = os.pipe()
    try:
        provider = provider_in(folder, TETHERED, tether_fd=reading)
        pid = await launched(provider, folder)
        os.close(writing)
        await eventually(lambda: not is_alive(pid))
        assert await names(provider) == []
    finally:
        os.close(reading)


async def test_a_command_that_cannot_start_is_an_error_and_leaves_nothing(folder):
    provider = provider_in(folder, ("no-such-program-here",))
    with pytest.raises(Unavailable, match="No such file"):
        await provider.launch(await request_for(provider))
    assert await names(provider) == []
    assert list((folder / "instances").glob("*.json")) == []


async def test_an_id_that_would_leave_the_folder_is_refused(folder):
    provider = provider_in(folder)
    with pytest.raises(InvalidInput):
        await provider.launch(await request_for(provider, "../x"))


async def test_logs_are_bounded_in_size_and_number(folder, monkeypatch):
    monkeypatch.setattr(worker_logs, "MAX_BYTES", 2000)
    monkeypatch.setattr(worker_logs, "KEEP_BYTES", 100)
    monkeypatch.setattr(worker_logs, "MAX_FILES", 2)
    provider = provider_in(folder)
    await launched(provider, folder)
    log = folder / "logs" / "cpu-1.log"
    with log.open("a") as file:
        file.write("x" * 3000)
    await provider.machines()
    assert log.stat().st_size == 0
    assert log.with_suffix(".log.1").stat().st_size == 100
    await launched(provider, folder, "cpu-2")
    await launched(provider, folder, "cpu-3")
    assert len(list((folder / "logs").glob("*.log"))) == 2
