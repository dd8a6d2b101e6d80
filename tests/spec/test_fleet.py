"""The rules across the files of one folder: each test starts from two good systems and breaks one thing."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from openclaw_dagster.compile.system import compile_system
from openclaw_dagster.runtime.workspace import Project, Workspace
from openclaw_dagster.settings import read_settings
from openclaw_dagster.spec.diagnostics import SpecRefused
from openclaw_dagster.spec.fleet import dagster_names

ONE = """\
system: one
version: 1.0.0
triggers:
  - order_created: {source: webhook, idempotency: order.id}
decisions:
  - pick: {inputs: [order], table: [{else: true, then: go}], emits: picked}
execution:
  - book: {on: picked, action: carrier.book, emits: booking.confirmed}
data:
  events: {store: event-log}
observability:
  slo: {error_rate: <0.5%}
"""
TWO = """\
system: two
version: 1.0.0
triggers:
  - booked:
      source: event
      of: one.booking.confirmed
decisions:
  - note: {inputs: [event], table: [{else: true, then: go}], emits: noted}
execution:
  - tell: {on: noted, action: oms.update}
data:
  events: {store: event-log}
observability:
  slo: {error_rate: <0.5%}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder the two systems are in, as the working directory."""
    monkeypatch.chdir(tmp_path)
    return Path()


def project(folder: Path, only: Path | None = None, **files: str) -> Project:
    for name, text in {"one": ONE, "two": TWO, **files}.items():
        (folder / f"{name}.claw").write_text(text)
    return Project(folder, only=only)


def told(project: Project) -> str:
    return "\n\n".join(one.render() for one in project.refused)


def test_two_systems_that_know_each_other_load(folder: Path) -> None:
    found = project(folder)
    assert told(found) == ""
    assert sorted(found.systems) == ["one", "two"]


def test_an_event_that_the_other_system_does_not_emit(folder: Path) -> None:
    found = project(folder, two=TWO.replace("one.booking.confirmed", "one.booking.confirmd"))
    assert told(found) == (
        "two.claw:6:11: CLAW022 the system one emits no 'booking.confirmd'\n"
        "    6 |       of: one.booking.confirmd\n"
        "      |           ^\n"
        "        allowed: one.booking.confirmed, one.case_completed, one.case_handed_off, one.picked\n"
        "        did you mean one.booking.confirmed?"
    )
    assert sorted(found.systems) == ["one"]


def test_a_system_that_emits_nothing(folder: Path) -> None:
    silent = ONE.replace(", emits: booking.confirmed", "").replace(", emits: picked", "")
    found = project(folder, one=silent.replace("on: picked", "on: order_created"))
    assert told(found).endswith("allowed: one.case_completed, one.case_handed_off")


@pytest.mark.parametrize("event", ["case_completed", "case_handed_off"])
def test_every_system_says_how_its_cases_end(event: str, folder: Path) -> None:
    found = project(folder, two=TWO.replace("one.booking.confirmed", f"one.{event}"))
    assert told(found) == ""


def test_a_system_that_is_not_there(folder: Path) -> None:
    found = project(folder, two=TWO.replace("one.booking", "won.booking"))
    assert told(found) == (
        "two.claw:6:11: CLAW022 there is no system 'won' in this folder\n"
        "    6 |       of: won.booking.confirmed\n"
        "      |           ^\n"
        "        allowed: one\n"
        "        did you mean one?"
    )


def test_a_system_whose_own_file_is_refused_is_not_held_against_the_listener(folder: Path) -> None:
    found = project(folder, one=ONE.replace("execution:", "executon:"))
    assert [refused.diagnostics[0].file for refused in found.refused] == ["one.claw"]
    assert sorted(found.systems) == ["two"]


def test_two_files_with_one_name(folder: Path) -> None:
    found = project(folder, three=ONE)
    assert told(found) == (
        "three.claw:1:9: CLAW016 the system one is already in one.claw: give one of them another name\n"
        "    1 | system: one\n"
        "      |         ^"
    )
    assert sorted(found.systems) == ["one", "two"]


def test_a_schedule_that_would_be_another_systems_sensor(folder: Path) -> None:
    ticking = ONE.replace("triggers:\n", "triggers:\n  - b_dispatch: {source: schedule, cron: '0 7 * * *'}\n")
    ticking = ticking.replace("inputs: [order]", "on: [order_created, b_dispatch], inputs: [order]")
    found = project(folder, one=ticking, other=TWO.replace("system: two", "system: one_b"))
    assert found.refused[0].diagnostics[0].message == (
        "one_b would be one_b_dispatch in Dagster, as is a part of the system one: rename one"
    )


def test_one_file_of_the_folder_is_checked_against_the_others(folder: Path) -> None:
    found = project(folder, only=folder / "two.claw", one=ONE.replace("booking.confirmed", "booking.done"))
    assert [one.diagnostics[0].code for one in found.refused] == ["CLAW022"]
    assert project(folder, only=folder / "one.claw").refused == []


def test_one_file_is_told_that_its_name_is_taken(folder: Path) -> None:
    found = project(folder, only=folder / "one.claw", zero=ONE)
    assert [one.diagnostics[0].message for one in found.refused] == [
        "the system one is already in zero.claw: give one of them another name"
    ]


CALLS = ONE.replace("action: carrier.book", "action: runbook.two")
CALLED = TWO.replace("source: event\n      of: one.booking.confirmed", "source: manual").replace(
    "inputs: [event]", "inputs: [payload]"
)


def test_a_runbook_is_a_system_with_one_manual_trigger(folder: Path) -> None:
    assert told(project(folder, one=CALLS, two=CALLED)) == ""


def test_a_runbook_that_is_not_there(folder: Path) -> None:
    found = project(folder, one=CALLS.replace("runbook.two", "runbook.tow"), two=CALLED)
    assert told(found) == (
        "one.claw:8:26: CLAW041 there is no system 'tow' in this folder to start as a runbook\n"
        "    8 |   - book: {on: picked, action: runbook.tow, emits: booking.confirmed}\n"
        "      |                                ^\n"
        "        allowed: one, two\n"
        "        did you mean two?"
    ).replace("8:26", "8:32")


def test_a_runbook_without_a_door_and_one_with_two(folder: Path) -> None:
    (none,) = project(
        folder, one=CALLS.replace(", emits: booking.confirmed", ""), two=ONE.replace("one", "two")
    ).refused
    assert none.diagnostics[0].message == "two has no manual trigger: a runbook has one"
    two = CALLED.replace("triggers:\n", "triggers:\n  - again: {source: manual}\n").replace(
        "inputs: [payload]", "on: [booked, again], inputs: [payload]"
    )
    (twice,) = project(folder, one=CALLS, two=two).refused
    assert twice.diagnostics[0].message == "two has 2 manual triggers: a runbook has one"


def test_runbooks_that_start_each_other(folder: Path) -> None:
    back = CALLED.replace("action: oms.update", "action: runbook.three")
    three = CALLED.replace("system: two", "system: three").replace(
        "action: oms.update", "action: runbook.two"
    )
    found = project(folder, one=CALLS, two=back, three=three)
    assert [one.diagnostics[0].message for one in found.refused] == [
        "these runbooks start each other for ever: three → two → three",
        "these runbooks start each other for ever: two → three → two",
    ]
    (itself,) = project(
        folder, two=back.replace("runbook.three", "runbook.two"), three=ONE.replace("one", "three")
    ).refused
    assert itself.diagnostics[0].message == "these runbooks start each other for ever: two → two"


def test_no_adapter_is_called_runbook(folder: Path) -> None:
    (folder / "adapters").mkdir()
    (folder / "adapters" / "runbook.yaml").write_text("operations: {two: {effect: read}}\n")
    with pytest.raises(SpecRefused, match="CLAW016 runbook is what systems are begun by"):
        project(folder)


def test_the_names_that_are_compared_are_those_that_dagster_sees(folder: Path, tmp_path: Path) -> None:
    found = project(folder)
    (tmp_path / "environments").mkdir()
    (tmp_path / "environments" / "development.yaml").write_text("adapters: {}\n")
    settings = read_settings(home=str(tmp_path / "home"), specs=str(tmp_path), environment="development")
    system = found.systems["one"]
    repository = compile_system(Workspace(settings, project=found), system).get_repository_def()
    (job,) = (job for job in repository.get_all_jobs() if isinstance(job, dg.JobDefinition))
    seen = {f"job {name}" for name in (job.name, *(node.definition.name for node in job.nodes))}
    seen |= {f"tick {sensor.name}" for sensor in repository.sensor_defs}
    assert {name for name, _ in dagster_names(system)} == seen
