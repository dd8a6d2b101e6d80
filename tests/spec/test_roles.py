"""Who answers: broken environments are refused with the text beside them, and systems ask for roles that are there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from openclaw_dagster.cli.surroundings import check_environment
from openclaw_dagster.runtime.workspace import Project
from openclaw_dagster.spec.diagnostics import SpecRefused
from openclaw_dagster.spec.surroundings import load_environment

ENVIRONMENTS = Path(__file__).parent / "environments"
BROKEN = sorted(path.stem for path in ENVIRONMENTS.glob("*.yaml") if path.stem != "good")
GOOD = (ENVIRONMENTS / "good.yaml").read_text(encoding="utf-8")

RETURNS = """\
system: returns
version: 1.0.0
owner: ops_lead
skip_policies:
  - erp_down: {steps: [refund], approval: [ops_lead], expires: 4h}
triggers:
  - returned: {source: webhook, idempotency: order.id}
decisions:
  - pick: {inputs: [order], table: [{else: true, then: go}], emits: picked}
execution:
  - refund:
      on: picked
      action: erp.refund
      checkpoint: {approval: [finance], quorum: 2, deadline: 2h, overdue: escalate, escalate_to: ops_lead}
      skip: erp_down
data:
  events: {store: event-log}
observability:
  alerts: [{on: error_rate > 1%, route: "role://ops_lead"}]
"""


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_environment_is_refused_with_the_text_beside_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ENVIRONMENTS)
    with pytest.raises(SpecRefused) as caught:
        load_environment(Path(f"{name}.yaml"))
    expected = ENVIRONMENTS / f"{name}.expected"
    if "CLAW_WRITE_EXPECTED" in os.environ:
        expected.write_text(caught.value.render() + "\n", encoding="utf-8")
    assert caught.value.render() + "\n" == expected.read_text(encoding="utf-8")


def test_every_expected_text_belongs_to_an_environment() -> None:
    assert sorted(path.stem for path in ENVIRONMENTS.glob("*.expected")) == BROKEN


def test_people_and_roles_are_what_the_file_says() -> None:
    environment = load_environment(ENVIRONMENTS / "good.yaml")
    assert environment.roles["finance"].people == ("fin_1", "fin_2")
    assert environment.roles["ops_lead"].notify == "email://leads@example.org"
    assert environment.people["fin_1"].slack == "U0000FIN1"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the working directory, with a folder for environments."""
    (tmp_path / "environments").mkdir()
    monkeypatch.chdir(tmp_path)
    return Path()


def told(folder: Path, system: str = RETURNS, environment: str = GOOD) -> str:
    """Return what `claw check --environment here` says against the environment."""
    (folder / "returns.claw").write_text(system, encoding="utf-8")
    (folder / "environments" / "here.yaml").write_text(environment, encoding="utf-8")
    project = Project(folder)
    assert project.refused == []
    wrong, _ = check_environment(project, "here")
    return "\n\n".join(one.render() for one in wrong)


def test_an_environment_that_has_the_roles_is_good(folder: Path) -> None:
    assert told(folder) == ""


def test_a_role_that_is_misspelt(folder: Path) -> None:
    assert told(folder, RETURNS.replace("approval: [finance]", "approval: [finanse]")) == (
        "environments/here.yaml:9:1: CLAW039 the checkpoint of returns.refund names the role 'finanse', "
        "and this environment does not have it\n"
        "    9 | roles:\n"
        "      | ^\n"
        "        allowed: finance, ops_lead\n"
        "        did you mean finance?\n"
        "        add under roles: finanse: {people: [ids of people]}"
    )


@pytest.mark.parametrize(
    ("said", "where"),
    [
        ("owner: ops_lead", "returns, under owner,"),
        ("approval: [ops_lead]", "the skip policy returns.erp_down"),
        ("escalate_to: ops_lead", "the checkpoint of returns.refund"),
        ("role://ops_lead", "an alert of returns"),
    ],
)
def test_every_place_that_names_a_role_is_looked_at(said: str, where: str, folder: Path) -> None:
    found = told(folder, RETURNS.replace(said, said.replace("ops_lead", "ops_lad")))
    assert f"CLAW039 {where} names the role 'ops_lad', and this environment does not have it" in found
    assert "did you mean ops_lead?" in found


def test_an_environment_without_roles(folder: Path) -> None:
    found = told(folder, environment=GOOD[: GOOD.index("people:")])
    assert found.startswith(
        "environments/here.yaml:1:1: CLAW039 an alert of returns names the role 'ops_lead', "
        "and this environment does not have it"
    )
    assert found.count("CLAW039") == 5


def test_a_quorum_of_more_people_than_there_are(folder: Path) -> None:
    assert told(folder, environment=GOOD.replace("[fin_1, fin_2]", "[fin_1]")) == (
        "environments/here.yaml:10:3: CLAW039 returns.refund waits for 2 different people; "
        "of finance this environment has fin_1\n"
        "   10 |   finance: {people: [fin_1], notify: slack://finance}\n"
        "      |   ^"
    )


def test_a_person_with_two_of_the_roles_counts_once(folder: Path) -> None:
    both = RETURNS.replace("approval: [finance]", "approval: [finance, ops_lead]")
    one = GOOD.replace("[fin_1, fin_2]", "[lead_1]")
    assert "of finance, ops_lead this environment has lead_1" in told(folder, both, one)
    assert told(folder, both, GOOD.replace("[fin_1, fin_2]", "[fin_1]")) == ""
