"""A carrier and a host per module, once on each database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..services.postgres import Postgres
from .carrier import Carrier
from .project import make_project
from .stack import Stack


@pytest.fixture(scope="module")
def carrier() -> Iterator[Carrier]:
    """Give a carrier with empty books."""
    carrier = Carrier()
    yield carrier
    carrier.close()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, carrier: Carrier
) -> Iterator[Stack]:
    """Give a running host, once on each database."""
    database: str | None = None
    if request.param == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        database = server.fresh()
    folder: Path = tmp_path_factory.mktemp(request.param)
    specs = make_project(folder, carrier.url, minutely=False)
    stack = Stack(folder, specs, database)
    try:
        yield stack.start()
    finally:
        stack.close()
