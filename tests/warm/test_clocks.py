"""A host whose clock is not Postgres': its sensors skip and say why, express pauses, `claw doctor` fails."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from openclaw_dagster.cli.examination import examine
from openclaw_dagster.clock import DAY, HOUR, SECOND, SystemClock, VirtualClock, day_of
from openclaw_dagster.compile.schedules import schedules_of
from openclaw_dagster.compile.sensors import dispatch_sensor
from openclaw_dagster.compile.upkeep import upkeep
from openclaw_dagster.runtime.intake import arrival
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.settings import read_settings
from openclaw_dagster.spec.model import System
from openclaw_dagster.store.entries import Kind

NIGHTLY = """\
system: nightly
version: 1.0.0
triggers:
  - night: {source: schedule, cron: "0 3 * * *"}
  - asked: {source: manual, idempotency: order.id}
decisions:
  - pick: {on: [night, asked], inputs: [payload_kind], table: [{else: true, then: go}], emits: picked}
execution:
  - act: {on: picked, action: erp.post, with: {order: "R-1"}}
data:
  events: {store: event-log, retention: 365d}
observability:
  slo: {error_rate: <0.5%}
"""


@pytest.fixture
def shop(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """Give a project on a machine whose clock is ten seconds late."""
    right = SystemClock.now
    monkeypatch.setattr(SystemClock, "now", lambda clock: right(clock) - 10 * SECOND)
    environments = tmp_path / "specs" / "environments"
    environments.mkdir(parents=True)
    (environments / "test.yaml").write_text("adapters: {erp: {use: simulator}}\n")
    (tmp_path / "specs" / "nightly.claw").write_text(NIGHTLY)
    settings = {"home": tmp_path / "home", "specs": tmp_path / "specs", "environment": "test"}
    for name, value in (settings | {"database_url": database_url}).items():
        monkeypatch.setenv(f"CLAW_{name.upper()}", str(value))
    made = Workspace(read_settings())
    assert not made.project.refused, "\n".join(one.render() for one in made.project.refused)
    yield made
    made.close()


def system(shop: Workspace) -> System:
    return shop.system("nightly")


def send(shop: Workspace) -> str:
    trigger = system(shop).trigger("asked")
    (receipt,) = shop.ledger.receive([arrival(system(shop), trigger, {"order": {"id": "A"}}, "A")])
    assert receipt.case_id
    return receipt.case_id


def kinds(shop: Workspace, case: str) -> list[Kind]:
    return [one.kind for one in shop.ledger.journal(case)]


def test_the_dispatch_sensor_skips_and_says_why(shop: Workspace) -> None:
    case = send(shop)
    with dg.DagsterInstance.ephemeral() as instance:
        said = dispatch_sensor(shop, system(shop)).evaluate_tick(dg.build_sensor_context(instance=instance))
    if shop.ledger.database.dialect == "sqlite":  # the only machine there is
        assert len(said.run_requests or ()) == 1
        return
    assert said.run_requests == []
    assert "nothing is claimed on this machine until they agree within 2 s" in str(said.skip_message)
    assert kinds(shop, case) == [Kind.OPENED]


def test_the_event_of_a_schedule_waits_for_a_host_that_may_begin_it(shop: Workspace) -> None:
    (schedule,) = schedules_of(shop, system(shop))
    now = datetime.now(UTC)
    said = schedule.evaluate_tick(dg.build_schedule_context(scheduled_execution_time=now))
    (case,) = shop.ledger.find()
    if shop.ledger.database.dialect == "sqlite":
        assert len(said.run_requests or ()) == 1
        return
    assert said.run_requests == []
    assert f"Case {case.id} waits." in str(said.skip_message)
    assert kinds(shop, case.id) == [Kind.OPENED]


def test_a_tick_that_is_tried_out_before_its_time_opens_nothing(shop: Workspace) -> None:
    (schedule,) = schedules_of(shop, system(shop))
    later = datetime.now(UTC) + timedelta(hours=1)
    said = schedule.evaluate_tick(dg.build_schedule_context(scheduled_execution_time=later))
    assert said.run_requests == []
    assert "its time has not come" in str(said.skip_message)
    assert shop.ledger.find() == []


@pytest.mark.parametrize("ahead", [False, True])
def test_housekeeping_by_a_clock_that_runs_ahead_seals_nothing_and_says_so(
    shop: Workspace, capfd: pytest.CaptureFixture[str], *, ahead: bool
) -> None:
    now = SystemClock().now()
    shop.clock = VirtualClock(now - 25 * HOUR)
    shop.ledger.clock = shop.clock
    case = send(shop)
    shop.clock.at = now + 30 * DAY if ahead else now
    job, _ = upkeep(shop)
    assert job.execute_in_process().success
    said = capfd.readouterr().err
    day = day_of(now - 25 * HOUR)
    assert ("no day is sealed until they agree" in said) is ahead
    assert (f"{day} sealed: " in said) is not ahead
    shop.clock.at = now
    assert [one.system for one in shop.ledger.due(["nightly"]).systems] == ["nightly"], case


def test_the_doctor_fails(shop: Workspace) -> None:
    send(shop)
    found = [one for one in examine("http://127.0.0.1:9") if one.what == "clocks"]
    if shop.ledger.database.dialect == "sqlite":
        assert found == []
        return
    (clocks,) = found
    assert clocks.verdict == "fail"
    assert clocks.found.startswith("CLAW203 This machine's clock says ")
    assert "10.0 s apart" in clocks.found
    assert clocks.repair == "timedatectl set-ntp true, here and there"
