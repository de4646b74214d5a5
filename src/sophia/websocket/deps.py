"""What the WebSocket server is given."""

from __future__ import annotations

from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from sophia import __version__
from sophia.events.base import EventLog
from sophia.events.hub import Hub
from sophia.nouns.clock import Clock
from sophia.settings.loaded import Loaded


@dataclass(frozen=True, kw_only=True)
class WebSocketDeps:
    """Everything the server works with. Whoever made them closes them, and runs ``hub`` beside the server."""

    loaded: Loaded
    events: EventLog
    hub: Hub
    clock: Clock
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    """Where the server's metrics go."""
    allowed_origins: frozenset[str] = frozenset()
    """Pages of other hosts that may connect, as ``https://host[:port]``; the gateway's own page always may."""
    client_ip_header: str | None = None
    """A header in which a trusted proxy in front names the client, such as ``Fly-Client-IP``."""
    version: str = __version__
