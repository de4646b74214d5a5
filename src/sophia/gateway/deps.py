"""What the gateway is given, and what one request's handler is given."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response

from sophia.access.base import CallGate, CallLedger, KeyStore
from sophia.access.flush import UsageFlush
from sophia.access.keys import Holder, KeyTable
from sophia.events.base import EventLog
from sophia.events.hub import Hub
from sophia.gateway.metrics import GatewayMetrics
from sophia.hosts.base import JoinTokens
from sophia.inference.base import Models
from sophia.intake import Intake
from sophia.nouns.clock import Clock
from sophia.nouns.ids import IdSource
from sophia.objects.packing import Packing
from sophia.queue.base import BudgetBalances, PoisonShelf, TaskQueue
from sophia.settings.keyring import Keyring
from sophia.settings.loaded import Loaded
from sophia.settings.model import Settings
from sophia.store.base import Batches, Files, Ledger


@dataclass(frozen=True, kw_only=True)
class GatewayDeps:
    """Everything the gateway works with. Whoever made them closes them, and runs ``hub`` beside the gateway."""

    loaded: Loaded
    queue: TaskQueue
    poison: PoisonShelf
    balances: BudgetBalances
    events: EventLog
    hub: Hub
    ledger: Ledger
    files: Files
    batches: Batches
    intake: Intake
    packing: Packing
    models: Models
    keys: KeyStore
    key_secret: bytes
    gate: CallGate
    calls: CallLedger
    flush: UsageFlush | None
    """``None``: the gate needs nobody to bring its counts to the ledger."""
    clock: Clock
    static_dir: Path | None
    """The built page; ``None`` or a folder without ``index.html`` gives a page that says how to build it."""
    version: str
    websocket_url: str | None = None
    """Where browsers find the WebSocket server; ``None``: at the host they asked, on the WebSocket port."""
    join_tokens: JoinTokens | None = None
    """``None``: no host can join here."""
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    """Where the gateway's metrics go."""


class Context:
    """What all requests of one gateway share."""

    def __init__(self, deps: GatewayDeps) -> None:
        self.deps = deps
        self.keys = KeyTable(Keyring(deps.loaded.api_keys), deps.key_secret)
        self.ids = IdSource()
        self.metrics = GatewayMetrics(deps.registry)
        self.closing = asyncio.Event()
        """Set when the gateway stops: whoever holds a request open answers now."""

    @property
    def settings(self) -> Settings:
        return self.deps.loaded.settings

    def close(self) -> None:
        self.closing.set()
        self.deps.hub.wake()


@dataclass(frozen=True, slots=True)
class Call:
    """One request, authenticated."""

    context: Context
    request: Request
    holder: Holder

    @property
    def tenant(self) -> str:
        """Empty where no key is needed."""
        return self.holder.tenant

    @property
    def deps(self) -> GatewayDeps:
        return self.context.deps

    @property
    def settings(self) -> Settings:
        return self.context.settings


Handler = Callable[[Call], Awaitable[Response]]
