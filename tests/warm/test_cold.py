"""Runs that are processes of their own: Dagster hears that one is dead when its lease is over, and no sooner."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from dagster import DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.launcher import WorkerStatus
from dagster._daemon.monitoring.run_monitoring import monitor_started_run

from openclaw_dagster.clock import VirtualClock
from openclaw_dagster.runtime.tags import CLAIM, run_tags
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.entries import Entry, Kind
from openclaw_dagster.store.ledger import Ledger, with_fence
from openclaw_dagster.warm.cold import SILENCE
from openclaw_dagster.warm.launcher import LAUNCHER, WarmRunLauncher
from openclaw_dagster.warm.limits import Room

from .kit import Shop, shop

LEASE = 45_000
RUNNING, GONE = WorkerStatus.RUNNING, WorkerStatus.NOT_FOUND


class Cold:
    """Runs of which the launcher believes that they have processes of their own, under a clock moved by hand."""

    def __init__(self, here: Shop) -> None:
        launcher = here.instance.run_launcher
        assert isinstance(launcher, WarmRunLauncher)
        self.here, self.launcher = here, launcher
        self.clock = VirtualClock(0)
        self.ledger = Ledger(here.workspace.ledger.database, self.clock)
        launcher._ledger = self.ledger

    def job(self, key: str) -> str:
        """Open a case; the clock stands still from now on."""
        case_id = self.here.job(key, 1)
        self.clock.at = time.time_ns() // 1_000_000
        return case_id

    def run(self, *cases: str) -> DagsterRun:
        """Claim cases for a run that Dagster holds for started, though no process has taken hold of them yet."""
        claim = self.ledger.claim("slow", limit=10, lease=LEASE, by="test", only=cases)
        assert claim
        assert {case.id for case in claim.cases} == {*cases}
        return self.launched(run_tags(claim))

    def launched(self, tags: dict[str, str]) -> DagsterRun:
        return self.here.instance.create_run_for_job(
            self.here.job_of("slow").get_definition(),
            tags={**tags, LAUNCHER: "cold"},
            status=DagsterRunStatus.STARTED,
        )

    def start(self, run: DagsterRun) -> None:
        """Take hold of a run's cases, as its process does when it begins."""
        assert self.ledger.start(run.tags[CLAIM], run_id=run.run_id, lease=LEASE, host="here")

    def close(self, case_id: str) -> None:
        """End a case, as its run does."""
        case = self.here.case(case_id)
        done = with_fence(case, Entry(Kind.CLOSED, {"steps": []}))
        assert not self.ledger.write([done]).lost

    def health(self, run: DagsterRun) -> WorkerStatus:
        return self.launcher.check_run_worker_health(run).status


@pytest.fixture
def cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_url: str) -> Iterator[Cold]:
    monkeypatch.setenv("CLAW_DATABASE_URL", database_url)
    with shop(tmp_path, monkeypatch) as found:
        yield Cold(found)


def test_a_run_whose_process_has_not_begun_lives_as_long_as_its_claim(cold: Cold) -> None:
    run = cold.run(cold.job("A-1"))
    cold.clock.advance(LEASE - 1)
    assert cold.health(run) is RUNNING
    cold.clock.advance(1)
    assert cold.health(run) is GONE


@pytest.mark.parametrize("others", ["have not taken its case over", "have taken its case over"])
def test_a_run_whose_process_died_is_gone_when_its_lease_is_over(cold: Cold, others: str) -> None:
    case = cold.job("A-1")
    run = cold.run(case)
    cold.clock.advance(40_000)
    cold.start(run)
    cold.clock.advance(LEASE - 1)
    assert cold.health(run) is RUNNING
    cold.clock.advance(1)
    if others == "have taken its case over":
        cold.start(cold.run(case))
    assert cold.health(run) is GONE
    said = str(cold.launcher.check_run_worker_health(run).msg)
    assert said.startswith("its process is gone: no lease of its claim lasts any more")


def test_a_run_lives_while_one_of_its_cases_is_held(cold: Cold) -> None:
    first, second = cold.job("A-1"), cold.job("A-2")
    run = cold.run(first, second)
    cold.start(run)
    cold.close(first)
    cold.clock.advance(LEASE - 1)
    assert cold.health(run) is RUNNING
    cold.clock.advance(1)
    assert cold.health(run) is GONE


def test_a_run_that_has_settled_its_cases_gets_the_time_to_end(cold: Cold) -> None:
    """What its process writes after the last case is in Dagster's log alone."""
    case = cold.job("A-1")
    run = cold.run(case)
    cold.start(run)
    cold.close(case)
    cold.here.instance.report_engine_event("the next op", run)
    assert cold.health(run) is RUNNING
    cold.clock.advance(SILENCE - 5_000)
    assert cold.health(run) is RUNNING
    cold.clock.advance(5_000 + 60_000)
    assert cold.health(run) is GONE
    assert "it has said nothing since 20" in str(cold.launcher.check_run_worker_health(run).msg)


def test_of_a_run_that_somebody_launched_by_hand_nothing_is_known(cold: Cold) -> None:
    run = cold.launched({})
    cold.clock.advance(10 * LEASE)
    assert cold.health(run) is RUNNING


def test_a_ledger_that_does_not_answer_makes_no_run_dead(cold: Cold) -> None:
    run = cold.run(cold.job("A-1"))
    cold.clock.advance(10 * LEASE)
    cold.launcher._ledger = Ledger(Database("sqlite:////nowhere/at/all.db"), cold.clock)
    assert cold.health(run) is RUNNING


def test_dead_runs_leave_room_for_others_as_soon_as_their_leases_are_over(cold: Cold) -> None:
    """After a power cut: as many dead runs as `max_concurrent_runs` allows, and nothing else would begin."""
    instance = cold.here.instance
    started = RunsFilter(statuses=[DagsterRunStatus.STARTED])
    cases = [cold.job(f"A-{number}") for number in range(4)]
    runs = [cold.run(case) for case in cases]
    for run in runs[:2]:
        cold.start(run)
    before = Room(instance).free(10)
    for wait, left in ((LEASE - 1, 4), (1, 0)):
        cold.clock.advance(wait)
        for record in instance.get_run_records(started):
            # it asks for a workspace only to resume runs, which is off
            monitor_started_run(instance, cast(Any, None), record, logging.getLogger("test"))
        assert instance.get_runs_count(started) == left
    assert Room(instance).free(10) == before + 4
