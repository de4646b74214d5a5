"""Which commands the queue issues: none that Redis 6.2 or the managed Redis of Upstash lacks."""

from __future__ import annotations

import os
import re
import time
from importlib import resources
from pathlib import Path

import msgspec
import pytest

from sophia.nouns.errors import ErrorInfo
from sophia.nouns.task import AttemptOutcome
from sophia.queue.base import Emission, Settlement, WorkerBeat
from sophia.redis.connection import Client, connect
from tests.support.queue_engines import STREAMS, Engine, redis_engine
from tests.support.tasks import make_task
from tests.support.waiting import settle_for

UPSTASH = Path("/work/shared/contracts/upstash-commands.json")
"""Upstash's published list, as data: ``{"commands": {group: [names]}}``."""
OF_THE_TEST = {"info", "config", "flushall", "command", "script"}


async def use_everything(engine: Engine) -> None:
    """Every method of the contract, with the turns that scripts take."""
    now_ms = time.time_ns() // 1_000_000
    tasks = [make_task(idempotency_key=str(number)) for number in range(8)]
    await engine.tasks.submit(tasks)
    await engine.tasks.submit([make_task(idempotency_key="0", payload=tasks[0].payload)])
    await engine.tasks.submit([make_task(run_at_ms=now_ms + 50), make_task(deadline_at_ms=now_ms + 60_000)])
    late = make_task(deadline_at_ms=now_ms + 50)
    await engine.tasks.submit([late])
    await engine.tasks.cancel(tasks[-1].id, "no")
    await engine.tasks.wait_of(tasks[-2].id)
    beat = WorkerBeat(worker="w1", pool="p", state="ready", busy=0, slots=1, started_at_ms=1)
    await engine.work.beat(beat)
    await engine.upkeep.request_stop("w1")
    assert await engine.work.beat(beat)
    await engine.tasks.workers()
    await engine.add_poison()
    leases = await engine.work.lease("w1", list(STREAMS), 4, 0.1)
    await engine.work.extend(leases)
    await engine.work.emit([Emission(lease=lease, kind="task.output", data={"text": "x"}) for lease in leases])
    error = ErrorInfo(code="unavailable", message="gone")
    outcomes = [AttemptOutcome.SUCCEEDED, AttemptOutcome.RETRYING, AttemptOutcome.DEAD]
    settled = [
        Settlement(lease=lease, outcome=outcome, result="ok", error=error, retry_in_s=0.01)
        for lease, outcome in zip(leases, outcomes, strict=False)
    ]
    assert all(await engine.work.settle(settled))
    await engine.lose_a_delivery()
    await settle_for(0.4)
    for _ in range(3):
        await engine.upkeep.upkeep(100)
    (dead,) = await engine.tasks.dead(None, 10)
    assert (await engine.tasks.redrive(None, [dead.task.id])).went == [dead.task.id]
    await engine.work.lease("w2", list(STREAMS), 100, 0)
    assert await engine.work.lease("w2", list(STREAMS), 1, 0.05) == []
    await engine.tasks.stats()
    await engine.tasks.get([task.id for task in tasks])
    await engine.events.task_log(tasks[0].id, 0)
    await engine.events.read(await engine.events.head(), 10, 0.01)
    await engine.events.put_snapshot("pools", b"{}")
    await engine.events.swap_snapshot("pools", await engine.events.snapshot("pools"), b"[]")
    await engine.upkeep.acknowledge(await engine.upkeep.changes(100, 0.01))
    assert await engine.upkeep.lead("router", "a", 5)
    await engine.upkeep.resign("router", "a")
    await engine.work.leave("w1")
    await engine.work.leave("w2")


async def issued_by_everything(url: str) -> set[str]:
    """Commands by the server's own count, those within scripts included."""
    client: Client = connect(url)
    await client.config_resetstat()
    async with redis_engine(url, "", lease_s=0.2) as engine:
        await use_everything(engine)
    counted = await client.info("commandstats")
    await client.aclose()
    # Later versions count "xgroup|create" apart from "xgroup".
    return {name.removeprefix("cmdstat_").split("|")[0] for name in counted} - OF_THE_TEST


def named_in_scripts() -> set[str]:
    """What a run did not come by is in the scripts' text."""
    folder = resources.files("sophia.queue.redis").joinpath("lua")
    calls = re.compile(r"""(?:redis\.p?call|gather)\(\s*['"]([A-Z]+)['"]""")
    return {
        name.lower()
        for script in folder.iterdir()
        if script.name.endswith(".lua")
        for name in calls.findall(script.read_text())
    }


NEWER = {"fcall", "function"}
"""Used where the server has them: `sophia.redis.library`."""


async def test_no_other_command_is_newer_than_redis_6_2(redis_server_url: str, redis_6_2_url: str) -> None:
    """Asked of the newer server, where something newer would be used if it were."""
    issued = await issued_by_everything(redis_server_url)
    assert {"fcall", "xreadgroup", "xadd"} <= issued
    old: Client = connect(redis_6_2_url)
    known = {name.lower() for name in await old.command()}
    await old.aclose()
    assert {"fcall"} <= (issued | named_in_scripts()) - known <= NEWER
    assert NEWER.isdisjoint(await issued_by_everything(redis_6_2_url))


@pytest.fixture
def upstash_commands() -> set[str]:
    if not UPSTASH.is_file():
        message = f"{UPSTASH} is not there"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    groups: dict[str, list[str]] = msgspec.json.decode(UPSTASH.read_bytes())["commands"]
    return {name.split()[0].lower() for names in groups.values() for name in names}


async def test_no_command_is_missing_at_upstash(upstash_commands: set[str], redis_6_2_url: str) -> None:
    issued = await issued_by_everything(redis_6_2_url)
    assert {"evalsha", "xreadgroup", "xadd"} <= issued
    assert (issued | named_in_scripts()) - upstash_commands == set()
