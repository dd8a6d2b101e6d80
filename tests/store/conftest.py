"""A ledger of each kind, on a clock that stands still."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from openclaw_dagster.clock import VirtualClock
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.ledger import Ledger

from .samples import NOW


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(NOW)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    made = Database(database_url)
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def ledger(database: Database, clock: VirtualClock) -> Ledger:
    return Ledger(database, clock)
