"""Slack once per module, an office for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .workspace import SIGNING, TOKEN, Office, Slack

Open = Callable[..., Office]


@pytest.fixture
def slack(tmp_path: Path) -> Iterator[Slack]:
    """Give an empty workspace."""
    made = Slack(tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def offices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Open offices, and close them at the end."""
    monkeypatch.setenv("TEST_SLACK_TOKEN", TOKEN)
    monkeypatch.setenv("TEST_SLACK_SIGNING", SIGNING)
    opened: list[Office] = []

    def open_office(database: str, slack: Slack | None, *more: str) -> Office:
        folder = tmp_path / f"office-{len(opened)}"
        folder.mkdir()
        opened.append(Office(folder, database, slack, *more))
        return opened[-1]

    yield open_office
    for office in opened:
        office.close()


@pytest.fixture
def office(offices: Open, database_url: str, slack: Slack) -> Office:
    """Give an office on each database."""
    return offices(database_url, slack)
