"""The scenarios of the pages come out as they say, and the page has every word of them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from openclaw_dagster.runtime.scenario import play
from openclaw_dagster.runtime.workspace import Project
from openclaw_dagster.settings import read_settings
from openclaw_dagster.spec.scenarios import CASE_STATES, DEEDS, STEP_STATES, Deed, Scenario

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
LANGUAGE = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
BLOCKS = [
    *(("stalled_orders", text) for text in re.findall(r"^```yaml\n(tests:\n.*?)^```$", PAGE, re.M | re.S)),
    *(("dispatch", text) for text in re.findall(r"^```yaml\n(tests:\n.*?)^```$", LANGUAGE, re.M | re.S)),
]


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_scenario_of_a_page_comes_out_as_it_says(number: int, tmp_path: Path) -> None:
    name, text = BLOCKS[number]
    specs = shutil.copytree(ROOT / "claw_specs", tmp_path / "specs")
    (specs / "fixtures" / "order.json").write_text(
        '{"order": {"id": "A-1", "weight_kg": 2, "service": "standard"}}'
    )
    file = specs / f"{name}.claw"
    file.write_text(file.read_text().partition("\ntests:\n")[0] + "\n" + text)
    project = Project(specs)
    assert [refused.render() for refused in project.refused] == []
    settings = read_settings(specs=str(specs), home=str(tmp_path), environment="development")
    system = project.systems[name]
    for scenario in system.scenarios:
        assert play(settings, project, tmp_path, system, scenario).differences == ()


def test_both_pages_have_some() -> None:
    assert {name for name, _ in BLOCKS} == {"stalled_orders", "dispatch"}


def test_the_page_has_every_word() -> None:
    keys = {field.alias or name for model in (Deed, Scenario) for name, field in model.model_fields.items()}
    words = {*keys, *DEEDS, *STEP_STATES, *CASE_STATES, "effects", "residual"} - {"name"}
    assert [word for word in sorted(words) if not re.search(rf"(`|\b){word}(`|:)", PAGE)] == []
