"""A host per module, or a shop per test, once on each database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from services.postgres import Postgres

from openclaw_dagster.cli.instance import prepare

from .host import Host
from .kit import Shop, pool, shop


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        if request.param == "postgres":
            server: Postgres = request.getfixturevalue("postgres")
            patch.setenv("CLAW_DATABASE_URL", server.fresh())
        here = stack.enter_context(shop(tmp_path_factory.mktemp(request.param), patch))
        home = prepare(here.settings)
        found = Host(here, home, (home.dagster / "dagster.yaml").read_text())
        stack.callback(found.stop_code)
        found.serve_code()
        stack.enter_context(pool(here, workers=2))
        yield found


@pytest.fixture(params=["sqlite", "postgres"])
def here(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    if request.param == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        monkeypatch.setenv("CLAW_DATABASE_URL", server.fresh())
    with shop(tmp_path, monkeypatch) as found:
        yield found
