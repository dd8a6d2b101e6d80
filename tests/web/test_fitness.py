"""Whether files may be loaded, judged without loading them: what is wrong is said, a door only where there is one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from openclaw_dagster.settings import Settings, read_settings
from openclaw_dagster.web.fitness import troubles

SAMPLE = Path(__file__).parents[2] / "claw_specs"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    shutil.copytree(SAMPLE, tmp_path / "specs")
    return read_settings(home=str(tmp_path / "home"), specs=str(tmp_path / "specs"))


def test_the_sample_is_fit(settings: Settings) -> None:
    assert troubles(settings, door=True) == []


def test_each_broken_file_is_shown_as_claw_check_shows_it(settings: Settings) -> None:
    file = settings.specs / "dispatch.claw"
    file.write_text(file.read_text().replace("retries:", "retrys:"))
    (said,) = troubles(settings, door=True)
    assert "dispatch.claw:" in said
    assert "did you mean" in said


def test_a_webhook_that_anybody_could_call_is_no_trouble_of_a_host_without_a_door(settings: Settings) -> None:
    file = settings.environment_file
    file.write_text(file.read_text().replace("unsigned_webhooks: true", "unsigned_webhooks: false"))
    (said,) = troubles(settings, door=True)
    assert "_SECRET" in said
    assert troubles(settings, door=False) == []


def test_a_broken_environment_is_said(settings: Settings) -> None:
    settings.environment_file.write_text("lease: soon\n")
    assert troubles(settings, door=False) != []
