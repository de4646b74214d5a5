"""Empty databases for ledgers, of each kind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio

from sophia.nouns.clock import ManualClock
from sophia.store.sql import SqlLedger, open_ledger


class LedgerPlace(NamedTuple):
    """Where a ledger is; may be opened any number of times, by any number of processes."""

    url: str | None
    data_dir: Path

    def open(self, clock: ManualClock | None = None) -> SqlLedger:
        return open_ledger(self.url, self.data_dir, clock)


@pytest.fixture(params=["sqlite", "postgres"])
def ledger_place(request: pytest.FixtureRequest, tmp_path: Path) -> LedgerPlace:
    """An empty database of each kind."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    return LedgerPlace(url, tmp_path)


@pytest_asyncio.fixture
async def ledger(ledger_place: LedgerPlace) -> AsyncIterator[SqlLedger]:
    opened = ledger_place.open()
    await opened.migrate()
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def second_ledger(ledger_place: LedgerPlace, ledger: SqlLedger) -> AsyncIterator[SqlLedger]:
    """Another engine on the database of ``ledger``, as another process has it."""
    opened = ledger_place.open()
    yield opened
    await opened.close()
