"""The queue on NATS JetStream from settings."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import msgspec

from sophia.events.base import EventLog
from sophia.nouns.errors import ConfigError
from sophia.queue.base import BudgetBalances, PoisonShelf, QueueUpkeep, TaskQueue, WorkQueue
from sophia.settings.loaded import Loaded


class Engine(msgspec.Struct):
    queue: TaskQueue
    poison: PoisonShelf
    balances: BudgetBalances
    work: WorkQueue
    upkeep: QueueUpkeep
    events: EventLog


@contextlib.asynccontextmanager
async def engine(loaded: Loaded) -> AsyncIterator[Engine]:
    """Queue and events over one connection, closed at the end."""
    if loaded.nats_url is None:
        raise ConfigError(
            "this role needs a NATS server",
            field="nats.url",
            mend="run `sophia up`, which starts one, or set SOPHIA_NATS_URL",
        )
    try:
        from sophia.events.jetstream import JetStreamEventLog
        from sophia.queue import jetstream
    except ImportError as error:
        raise ConfigError("the NATS client is not installed", mend="pip install 'sophia[jetstream]'") from error

    queue = loaded.settings.queue
    options = jetstream.JetStreamOptions(
        streams=queue.streams,
        lease_s=queue.lease_s,
        idempotency_ttl_s=queue.idempotency_ttl_s,
        result_ttl_s=queue.result_ttl_s,
        task_events_max=queue.task_events_max,
        age_boost_s=queue.age_boost_s,
        tenant_max_running=queue.tenant_max_running,
        max_running={
            **{f"type:{name}": cap for name, cap in queue.type_max_running.items()},
            **{f"tenant:{name}": t.max_running for name, t in loaded.settings.tenants.items() if t.max_running},
        },
        budgets={name: tenant.budget for name, tenant in loaded.settings.tenants.items()},
    )
    bus = await jetstream.open_bus(loaded.nats_url, replicas=loaded.settings.nats.replicas)
    tasks = jetstream.JetStreamTaskQueue(bus, options)
    built = Engine(
        queue=tasks,
        poison=tasks,
        balances=tasks,
        work=jetstream.JetStreamWorkQueue(bus, options),
        upkeep=jetstream.JetStreamUpkeep(bus, options),
        events=JetStreamEventLog(bus),
    )
    try:
        yield built
    finally:
        await built.work.close()
        await built.queue.close()
        await built.events.close()
        await jetstream.close_bus(bus)
