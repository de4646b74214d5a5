"""What is measured."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from bench import environment
from bench.servers import Servers


@dataclass(frozen=True)
class Subject:
    """``kind``: ours, asyncio, threads, node or messages (no results). ``options`` go to the peer's module. ``broker``: the
    NATS server that it needs, ``core`` or ``jetstream``."""

    name: str
    module: str
    kind: str
    environment: str = "most"
    options: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    broker: str = ""

    def command(self, measure: str, servers: Servers, options: dict[str, Any]) -> list[str]:
        """Raises ``environment.Missing``."""
        text = json.dumps({**options, "redis": servers.redis_url, "nats": servers.nats_url, **self._peer_options()})
        if self.kind == "node":
            return [*environment.node_script(f"{self.module}.mjs"), measure, text]
        return [str(environment.python_of(self.environment)), "-m", "bench.child", self.module, measure, text]

    def _peer_options(self) -> dict[str, Any]:
        return {"peer": self.options} if self.options else {}


OURS = Subject("Sophia", "sophia", "ours", "own")

JETSTREAM = Subject(
    "Sophia on JetStream", "jetstream", "ours", "own", note="the same contract on NATS JetStream", broker="jetstream"
)

WORK_MS = 5
WORKING = Subject("Sophia", "sophia", "ours", "own", {"work_ms": WORK_MS})
"""With a handler that computes for a while."""

PEERS = (
    Subject("streaq", "streaq", "asyncio"),
    Subject("arq", "arq", "asyncio", "arq", note="poll_delay 10 ms instead of 500"),
    Subject("saq", "saq", "asyncio"),
    Subject("taskiq", "taskiq", "asyncio", note="Redis Streams with result backend"),
    Subject("dramatiq", "dramatiq", "threads", note="8 threads"),
    Subject("huey", "huey", "threads", note="4 threads"),
    Subject("celery", "celery", "threads", note="solo pool, its fastest here"),
    Subject("FastStream", "faststream", "messages", note="NATS core: no results, nothing stored", broker="core"),
    Subject("BullMQ", "bullmq", "node"),
)

SWITCHED_OFF = (
    Subject("without fairness between tenants", "sophia", "ours", "own", {"fair_window": 1_000_000_000}),
    Subject("without event log", "sophia", "ours", "own", {"event_log": False}),
    Subject("without ledger changes", "sophia", "ours", "own", {"ledger_changes": False}),
    Subject(
        "without all three",
        "sophia",
        "ours",
        "own",
        {"fair_window": 1_000_000_000, "event_log": False, "ledger_changes": False},
    ),
)

FLOOR = Subject("floor", "floor", "floor", "own")
