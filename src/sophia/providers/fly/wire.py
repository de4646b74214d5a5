"""What goes over the wire to and from Fly, as far as it is used here."""

from __future__ import annotations

import msgspec


class Guest(msgspec.Struct, frozen=True, kw_only=True):
    cpu_kind: str = "shared"
    cpus: int = 1
    memory_mb: int = 256


class Init(msgspec.Struct, frozen=True, kw_only=True):
    cmd: tuple[str, ...]


class Restart(msgspec.Struct, frozen=True, kw_only=True):
    policy: str


class StopConfig(msgspec.Struct, frozen=True, kw_only=True):
    signal: str
    timeout: str


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """An update replaces the whole of it."""

    image: str
    guest: Guest
    init: Init
    env: dict[str, str]
    metadata: dict[str, str]
    restart: Restart
    stop_config: StopConfig
    auto_destroy: bool = False


class ListedConfig(msgspec.Struct, frozen=True, kw_only=True):
    guest: Guest = Guest()
    metadata: dict[str, str] = {}


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str = ""
    state: str = ""
    region: str = ""
    host_status: str = "ok"
    updated_at: str = ""
    config: ListedConfig | None = None
    incomplete_config: ListedConfig | None = None
    """In place of ``config`` while the machine's host does not answer."""

    @property
    def known(self) -> ListedConfig:
        return self.config or self.incomplete_config or ListedConfig()


class Order(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """To create a machine, or to update one and start it."""

    config: Config
    name: str | None = None
    region: str | None = None


class StopOrder(msgspec.Struct, frozen=True, kw_only=True):
    signal: str
    timeout: str


class LeaseOrder(msgspec.Struct, frozen=True, kw_only=True):
    ttl: int
    description: str


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """The document shows the nonce itself; the service has been seen to wrap it in ``data``."""

    nonce: str = ""
    data: Lease | None = None

    @property
    def key(self) -> str:
        return self.nonce or (self.data.nonce if self.data else "")


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    error: str = ""
    status: str = ""
