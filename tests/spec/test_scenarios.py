"""Scenarios beside a system: they change nothing of what it means, and their words are those of the ledger."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import get_args

import pytest

from openclaw_dagster.runtime.standing import WORDS
from openclaw_dagster.runtime.workspace import Project, check_policy
from openclaw_dagster.spec.load import bundle_of, load_bundle
from openclaw_dagster.spec.model import System
from openclaw_dagster.spec.scenarios import CASE_STATES, DEEDS, STEP_STATES, TOO_MUCH, Deed
from openclaw_dagster.spec.surroundings import load_environment
from openclaw_dagster.store.case import State, StepState

SPECS = Path(__file__).parents[2] / "claw_specs"


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    return shutil.copytree(SPECS, tmp_path / "specs")


def system(specs: Path) -> System:
    return Project(specs).systems["stalled_orders"]


def test_they_change_no_digest_and_are_not_kept(specs: Path) -> None:
    with_them = system(specs)
    assert len(with_them.scenarios) > 10
    file = specs / "stalled_orders.claw"
    file.write_text(file.read_text().partition("\ntests:\n")[0] + "\n")
    without = system(specs)
    assert without.scenarios == ()
    assert without.digest == with_them.digest
    bundle = bundle_of(with_them)
    assert not any("fixtures" in name for name in bundle["files"])
    again = load_bundle(bundle, check_policy)
    assert (again.digest, again.scenarios, again.fixtures) == (with_them.digest, (), {})


def test_a_kept_system_is_loaded_whatever_its_scenarios_say(specs: Path) -> None:
    bundle = bundle_of(system(specs))
    text = bundle["files"]["stalled_orders.claw"].replace("refund: waiting", "nothing: at_all")
    bundle["files"]["stalled_orders.claw"] = text.replace("approve: refund", "bless: refund")
    assert load_bundle(bundle, check_policy).digest == system(specs).digest


def test_a_payload_is_read_inside_the_folder_only(specs: Path) -> None:
    (specs.parent / "lost.json").write_text((specs / "fixtures" / "orders" / "lost.json").read_text())
    (specs / "fixtures" / "orders" / "lost.json").unlink()
    (specs / "fixtures" / "orders" / "lost.json").symlink_to(specs.parent / "lost.json")
    (refused,) = Project(specs).refused
    assert "goes through a link" in refused.render()


def test_their_states_are_those_of_the_ledger() -> None:
    assert set(CASE_STATES) == {*get_args(State), "not_opened"}
    assert set(WORDS) == set(get_args(StepState))
    assert {*WORDS.values(), "not_reached", "waiting", "denied", "expired"} == set(STEP_STATES)


def test_what_is_useless_is_said_of_every_deed() -> None:
    assert set(TOO_MUCH) == set(DEEDS)
    aliases = {field.alias or name for name, field in Deed.model_fields.items()}
    assert {word for words in TOO_MUCH.values() for word in words} <= aliases


def test_numbers_of_files_are_plain_numbers(specs: Path) -> None:
    environment = load_environment(specs / "environments" / "development.yaml")
    assert type(environment.constants["goodwill_from"]) is float
    file = specs / "stalled_orders.claw"
    text = file.read_text().replace("{branch: rebook, impact: medium}", "{branch: rebook, weight: [2.5, 1]}")
    file.write_text(
        text.replace('with: {order: "${order.id}"}', 'with: {order: "${order.id}", dear: 1.5}', 1)
    )
    loaded = system(specs)
    rows = loaded.decision("runbook").table or ()
    weights = [
        type(one)
        for row in rows
        for one in (row.then.get("weight", []) if isinstance(row.then, dict) else [])
    ]
    assert weights == [float, int]
    assert type((loaded.step("rebook").arguments or {})["dear"]) is float
