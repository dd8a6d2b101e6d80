"""A shop as every runtime test uses it: a small system, simulators, a clock moved by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from openclaw_dagster.runtime.workspace import Workspace

from .kit import DISPATCH, build, reopen

Open = Callable[..., Workspace]


@pytest.fixture
def shops(tmp_path: Path, database_url: str) -> Iterator[Open]:
    """Open projects in this test's folder, on each database, and close them at the end."""
    opened: list[Workspace] = []

    def open_shop(*systems: str, again: bool = False, **given: Any) -> Workspace:
        if again:
            shop = reopen(tmp_path, database_url, **given)
        else:
            shop = build(tmp_path, database_url, *(systems or (DISPATCH,)), **given)
        opened.append(shop)
        return shop

    yield open_shop
    for shop in opened:
        shop.close()
