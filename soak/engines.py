"""The servers that a run breaks. An engine takes part by an entry in ``ENGINES``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from soak.accounts import Accounts
from soak.jetstream_engine import JetStreamEngine
from soak.redis_engine import RedisEngine
from sophia.nouns.errors import SophiaError
from tests.support.fault_proxy import Address, FaultProxy


class Engine(Protocol):
    name: str
    can_fill_disk: bool
    memory_growth_bytes: int
    """How much more ``memory_bytes`` may be after a run than before it."""

    @property
    def address(self) -> Address:
        """Where a proxy connects to."""

    @property
    def full_disk_says(self) -> tuple[type[SophiaError], ...]:
        """How a submission is refused while the disk is full."""

    def environment(self, address: Address) -> dict[str, str]:
        """What a process needs to find the server behind ``address``."""

    async def start(self) -> None: ...

    async def kill(self) -> None:
        """SIGKILL; returns when it is gone."""

    async def stop(self) -> None: ...

    async def leader(self) -> str:
        """Which router leads; empty when none does. Raises ``SophiaError`` or ``OSError``."""

    async def fill_disk(self) -> None: ...

    async def free_disk(self) -> None:
        """And what an operator has to do besides."""

    async def wipe(self) -> None:
        """Delete everything while the server runs."""

    async def lose_disk(self) -> None:
        """SIGKILL, delete all its files, start it as new."""

    async def memory_bytes(self) -> int: ...

    async def accounts(self) -> Accounts:
        """What it has booked of the tenants' budgets."""

    async def leftovers(self) -> list[str]:
        """What a queue without open tasks must not hold."""

    async def leftovers_after_retention(self) -> list[str]:
        """Ends the retention of whatever has one, and gives what is still there of finished tasks."""


ENGINES: dict[str, Callable[[Path], Engine]] = {"redis": RedisEngine, "jetstream": JetStreamEngine}


async def start_proxy(engine: Engine, folder: Path, number: int) -> FaultProxy:
    """Listens on whatever kind of address the server has."""
    listen: Address = folder / f"p{number}.sock" if isinstance(engine.address, Path) else ("127.0.0.1", 0)
    proxy = FaultProxy(listen, engine.address)
    await proxy.start()
    return proxy
