"""What a router does first of all on a new queue."""

from __future__ import annotations

from sophia.queue.base import QueueUpkeep


async def open_accounts(upkeep: QueueUpkeep) -> None:
    """Nothing was spent yet."""
    await upkeep.begin_accounts("a test")
    assert await upkeep.fill_accounts("a test", [])
    assert await upkeep.open_accounts("a test")
