"""Express when something is missing: the pool, an idle worker, the code, a run that can be launched."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.launcher import WorkerStatus

from openclaw_dagster.cli.examination import examine
from openclaw_dagster.store.entries import Kind
from openclaw_dagster.warm.launcher import LAUNCHER

from .host import Host
from .kit import wait


def healths_of(instance: DagsterInstance) -> list[WorkerStatus]:
    """Ask how the one run is while it is started, as run monitoring does, until it has ended."""
    found: list[WorkerStatus] = []
    started = RunsFilter(statuses=[DagsterRunStatus.STARTED])

    def ended() -> bool:
        for run in instance.get_runs(started):
            health = instance.run_launcher.check_run_worker_health(run).status
            if instance.get_runs_count(RunsFilter(run_ids=[run.run_id], statuses=started.statuses)):
                found.append(health)
        return bool(found) and not instance.get_runs_count(started)

    wait(ended, 90)
    return found


def test_without_the_pool_runs_are_processes_of_their_own_and_everybody_says_so(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = {
        "module": "openclaw_dagster.warm.launcher",
        "class": "WarmRunLauncher",
        "config": {"socket": str(tmp_path / "nobody.sock")},
    }
    with host.express(run_launcher=launcher) as express:
        case = host.shop.order("cold")
        express.wake()
        healths = healths_of(express.instance)
        host.settled([case], 90)
        (record,) = host.runs([case])
        assert record.dagster_run.tags[LAUNCHER] == "cold"
        # while its process lives, from its first moment to its last, nobody calls it dead
        assert {*healths} == {WorkerStatus.RUNNING}
        assert express.launched() == {"cold": 1}
        express.instance.run_launcher.join()
    monkeypatch.setenv("CLAW_HOME", str(tmp_path))
    (found,) = [one for one in examine("http://127.0.0.1:9") if one.what == "pool"]
    assert found.verdict == "warn"
    assert "processes of their own, which takes seconds" in found.found
    assert "claw serve" in found.repair


def test_with_every_worker_busy_a_case_waits_for_one(host: Host) -> None:
    with host.express() as express:
        busy = [host.shop.job(f"busy-{number}", 1.5) for number in range(2)]
        wait(lambda: host.shop.pool({"ask": "status"})["idle"] == 0)
        case = host.shop.order("busy")
        express.wake()
        (found,) = [one for one in examine("http://127.0.0.1:9") if one.what == "pool"]
        assert (found.verdict, found.found) == ("warn", "all 2 workers busy: due cases wait for one")
        assert host.shop.case(case).seq == 1
        host.settled([*busy, case])
        assert express.launched()["cold"] == 0
    (found,) = [one for one in examine("http://127.0.0.1:9") if one.what == "pool"]
    assert (found.verdict, found.found) == ("ok", "2 warm workers, 2 idle")


def test_while_the_code_is_away_nothing_is_claimed(host: Host) -> None:
    host.stop_code()
    try:
        with host.express() as express:
            case = host.shop.order("away")
            express.wake()
            time.sleep(2)
            assert [one.kind for one in host.shop.workspace.ledger.journal(case)] == [Kind.OPENED]
            host.serve_code()
            host.settled([case], 90)
        host.starts([case])
    finally:
        if not host.code:
            host.serve_code()


def test_a_run_that_cannot_be_launched_gives_its_cases_back(host: Host, tmp_path: Path) -> None:
    launcher = {
        "module": "openclaw_dagster.warm.launcher",
        "class": "WarmRunLauncher",
        "config": {"socket": str(tmp_path / "nobody.sock")},
    }
    with host.express(run_launcher=launcher) as express:
        host.settled([host.shop.order("back-0")], 90)  # it has the plan by now, and thinks the code is there
        for process in host.code:
            os.kill(process.pid, signal.SIGSTOP)
            os.kill(process.pid, signal.SIGKILL)
        case = host.shop.order("back")
        express.wake()
        ledger = host.shop.workspace.ledger
        wait(lambda: Kind.RELEASED in [one.kind for one in ledger.journal(case)], 30)
        time.sleep(2)
        lines = [one.kind for one in ledger.journal(case)]
        assert len(lines) < 15, lines
        host.stop_code()
        host.serve_code()
        host.settled([case], 90)
    host.starts([case])
    assert express.launched()["cold"] >= 2
