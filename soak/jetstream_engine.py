"""NATS with JetStream on disk, as a run breaks it and looks into it."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from soak.accounts import Account, Accounts
from soak.embedded_engine import EmbeddedEngine
from soak.small_disk import SmallDisk
from sophia.embedded.nats_server import NatsServer
from sophia.nouns.errors import SophiaError, StorageFull, Unavailable
from sophia.queue.jetstream import JetStreamOptions, JetStreamUpkeep, close_bus, names, open_bus
from sophia.queue.jetstream.accounts import Book, Page
from sophia.queue.jetstream.bus import Bus
from sophia.queue.jetstream.failures import Absent, translated
from tests.support.fault_proxy import Address

EVERYTHING = 100_000
FINISHED_KINDS = frozenset({"n.t", "n.e", "k.x"})
"""Subjects of a final task, which go with its retention."""
TASK_ID = re.compile(r"[0-9a-f]{32}")


class JetStreamEngine(EmbeddedEngine[NatsServer]):
    name = "jetstream"
    memory_growth_bytes = 2**18
    """Of what the stream holds: the platform's own few subjects and keys until their time-to-live is over."""

    def __init__(self, folder: Path) -> None:
        disk = SmallDisk(folder / "nats")
        super().__init__(disk, NatsServer(disk.place))

    @property
    def address(self) -> Address:
        host, _, port = self._server.url.rpartition("@")[2].rpartition(":")
        return host, int(port)

    @property
    def full_disk_says(self) -> tuple[type[SophiaError], ...]:
        """The server seldom says why it refuses, and switches JetStream off after some failures to write."""
        return (StorageFull, Unavailable)

    def environment(self, address: Address) -> dict[str, str]:
        if isinstance(address, Path):
            raise TypeError("NATS knows no unix sockets")
        token = self._server.url.rpartition("@")[0]
        return {"SOPHIA_NATS_URL": f"{token}@{address[0]}:{address[1]}"}

    async def leader(self) -> str:
        async with self._bus() as bus:
            stored = await bus.last(names.leader("router"))
        holder: str = "" if stored is None else msgspec.json.decode(stored.data).get("holder", "")
        return holder

    async def free_disk(self) -> None:
        """With a restart: the server does not switch JetStream on again by itself."""
        await super().free_disk()
        await self.kill()
        await self.start()

    async def wipe(self) -> None:
        async with self._bus() as bus:
            await bus.api(f"STREAM.DELETE.{names.STREAM}")

    async def lose_disk(self) -> None:
        await self.kill()
        shutil.rmtree(self._disk.place / "jetstream")
        await self.start()

    async def memory_bytes(self) -> int:
        """What the stream holds: the server's own memory follows its garbage collector."""
        async with self._bus() as bus:
            try:
                state = (await bus.api(f"STREAM.INFO.{names.STREAM}"))["state"]
            except Absent:
                return 0
        return int(state["bytes"])

    async def accounts(self) -> Accounts:
        """As whoever reads them next will: without what a server that was killed had booked of a batch it lost."""
        async with self._bus() as bus:
            stored = await bus.newest([f"{names.ROOT}.k.b.*"])
            periods = {
                names.text_of(subject.rpartition(".")[2]): msgspec.json.decode(message.data, type=Page).periods
                for subject, message in stored.items()
            }
            book = await Book.read(bus, periods)
        return {
            (tenant, period): msgspec.convert(book.of(tenant, period), Account, from_attributes=True)
            for tenant, names_ in periods.items()
            for period in names_
        }

    async def leftovers(self) -> list[str]:
        return await self._of_tasks(but=FINISHED_KINDS)

    async def leftovers_after_retention(self) -> list[str]:
        async with self._bus() as bus:
            # The product's own upkeep, for which retention is over at once.
            hasty = JetStreamUpkeep(bus, JetStreamOptions(streams=(), result_ttl_s=0.0))
            await hasty.upkeep(EVERYTHING)
            found = [f"{subject} has no time-to-live" for subject in await self._keys_without_end(bus)]
        return found + await self._of_tasks()

    async def _keys_without_end(self, bus: Bus) -> list[str]:
        without = []
        for subject in await _subjects(bus, f"{names.ROOT}.k.i.>"):
            reply = await bus.client.request(f"$JS.API.DIRECT.GET.{names.STREAM}.{subject}", b"", timeout=5)
            if "Nats-TTL" not in (reply.headers or {}):
                without.append(subject)
        return without

    async def _of_tasks(self, but: frozenset[str] = frozenset()) -> list[str]:
        async with self._bus() as bus:
            subjects = await _subjects(bus, ">")
        named = [subject for subject in subjects if TASK_ID.fullmatch(subject.rpartition(".")[2]) or _is_event(subject)]
        return [f"the subject {subject} is left" for subject in named if _kind(subject) not in but][:20]

    @contextlib.asynccontextmanager
    async def _bus(self) -> AsyncIterator[Bus]:
        bus = await open_bus(self._server.url)
        try:
            async with translated():
                yield bus
        finally:
            await close_bus(bus)


async def _subjects(bus: Bus, pattern: str) -> list[str]:
    state = (await bus.api(f"STREAM.INFO.{names.STREAM}", {"subjects_filter": pattern}))["state"]
    return sorted(state.get("subjects") or ())


def _kind(subject: str) -> str:
    """``sophia.n.t.ID`` is ``n.t``."""
    return ".".join(subject.split(".")[1:3])


def _is_event(subject: str) -> bool:
    """Of a task: ``sophia.n.e.ID.SEQ``; the platform's own are in ``sophia.n.e._``."""
    words = subject.split(".")
    return words[1:3] == ["n", "e"] and words[3] != "_"
