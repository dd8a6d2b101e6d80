"""The pool: runs in warm workers, their end, and what happens when a worker or the pool itself dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterRunStatus
from dagster._core.launcher import LaunchRunContext, WorkerStatus

from openclaw_dagster.cli.examination import examine
from openclaw_dagster.warm.launcher import LAUNCHER, WarmRunLauncher
from openclaw_dagster.warm.line import PoolDown, socket_of

from .kit import Shop, pool, shop, wait


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    with shop(tmp_path, monkeypatch) as found:
        yield found


def status(here: Shop, run_id: str) -> DagsterRunStatus:
    run = here.instance.get_run_by_id(run_id)
    assert run
    return run.status


def test_a_run_is_executed_by_a_warm_worker(here: Shop) -> None:
    with pool(here) as process:
        pids = set()
        for number in range(3):
            case = here.order(f"A-{number}")
            run = here.run("dispatch")
            answer = here.pool({"ask": "launch", "run": run.run_id})
            assert answer["ok"]
            pids.add(answer["pid"])
            wait(lambda case=case: here.case(case).state == "completed")
            wait(lambda run=run: status(here, run.run_id) is DagsterRunStatus.SUCCESS)
            wait(lambda: here.pool({"ask": "status"})["idle"] == 1)
        assert len(pids) == 1  # one process did all three
        assert process.pid not in pids
        assert here.pool({"ask": "status"})["done"] == 3


def test_a_pool_without_an_idle_worker_says_so_and_keeps_nothing(here: Shop) -> None:
    with pool(here):
        here.job("slow", 1.5)
        here.order("A-1")
        busy, waiting = here.run("slow"), here.run("dispatch")
        assert here.pool({"ask": "launch", "run": busy.run_id})["ok"]
        assert here.pool({"ask": "launch", "run": waiting.run_id}) == {"ok": False, "busy": 1}
        assert here.pool({"ask": "health", "run": busy.run_id})["ok"]
        assert not here.pool({"ask": "health", "run": waiting.run_id})["ok"]


def test_the_launcher_waits_for_a_worker_that_is_soon_free(here: Shop) -> None:
    launcher = here.instance.run_launcher
    assert isinstance(launcher, WarmRunLauncher)
    with pool(here):
        here.job("slow", 1)
        case = here.order("A-1")
        busy, waiting = here.run("slow"), here.run("dispatch")
        launcher.launch_run(LaunchRunContext(busy, workspace=None))
        assert launcher.check_run_worker_health(busy).status is WorkerStatus.RUNNING
        launcher.launch_run(LaunchRunContext(waiting, workspace=None))
        wait(lambda: here.case(case).state == "completed")
        run = here.instance.get_run_by_id(waiting.run_id)
        assert run
        assert LAUNCHER not in run.tags


def test_a_run_is_terminated(here: Shop) -> None:
    with pool(here):
        job = here.job("slow", 20)
        run = here.run("slow")
        assert here.pool({"ask": "launch", "run": run.run_id})["ok"]
        # before its first op a run that is interrupted is a failed one to Dagster, not a cancelled one
        wait(lambda: here.case(job).facts.steps.get("work"))
        begun = time.monotonic()
        assert here.instance.run_launcher.terminate(run.run_id)
        wait(lambda: status(here, run.run_id) is DagsterRunStatus.CANCELED)
        assert time.monotonic() - begun < 5
        case = here.order("A-1")
        wait(lambda: here.pool({"ask": "status"})["idle"] == 1)
        assert here.pool({"ask": "launch", "run": here.run("dispatch").run_id})["ok"]
        wait(lambda: here.case(case).state == "completed")


def test_a_killed_worker_is_reported_at_once_and_replaced(here: Shop) -> None:
    with pool(here):
        case = here.job("slow", 20)
        run = here.run("slow")
        pid = here.pool({"ask": "launch", "run": run.run_id})["pid"]
        wait(lambda: here.case(case).facts.steps.get("work"))
        os.kill(pid, signal.SIGKILL)
        begun = time.monotonic()
        wait(lambda: status(here, run.run_id) is DagsterRunStatus.FAILURE)
        assert time.monotonic() - begun < 10
        assert here.case(case).facts.deaths == 1
        wait(lambda: here.pool({"ask": "status"})["idle"] == 1)
        assert not here.pool({"ask": "health", "run": run.run_id})["ok"]


def test_a_killed_pool_leaves_no_process_and_loses_no_case(here: Shop) -> None:
    with pool(here) as process:
        case = here.job("slow", 2)
        run = here.run("slow")
        pid = here.pool({"ask": "launch", "run": run.run_id})["pid"]
        wait(lambda: here.case(case).facts.steps.get("work"))
        process.kill()
        process.wait(10)
        with pytest.raises(PoolDown):
            here.pool({"ask": "status"})
        wait(lambda: here.case(case).state == "completed")  # the worker ends what it has begun
        wait(lambda: not Path(f"/proc/{pid}").exists())


def test_without_a_pool_the_stock_launcher_takes_the_run(here: Shop) -> None:
    launcher = here.instance.run_launcher
    assert isinstance(launcher, WarmRunLauncher)
    here.order("A-1")
    run = here.run("dispatch")
    with pytest.raises(Exception, match="workspace"):  # the stock launcher asks for one
        launcher.launch_run(LaunchRunContext(run, workspace=None))
    found = here.instance.get_run_by_id(run.run_id)
    assert found
    assert found.tags[LAUNCHER] == "cold"
    assert launcher.check_run_worker_health(run).status is WorkerStatus.NOT_FOUND


def test_workers_that_cannot_start_are_not_forked_all_the_time(here: Shop, tmp_path: Path) -> None:
    """A broken `dagster.yaml`, or a full disk: the pool answers meanwhile, and goes on when it is mended."""
    file, said = home_of(here) / "dagster.yaml", tmp_path / "said"
    good = file.read_text()
    file.write_text("storage: {nobody: knows}\n")
    with said.open("w") as stderr, pool(here, 2, idle=0, stderr=stderr):
        end = time.monotonic() + 3
        while time.monotonic() < end:
            assert here.pool({"ask": "status"})["idle"] == 0
            assert not here.pool({"ask": "launch", "run": "any"})["ok"]
            time.sleep(0.05)
        deaths = said.read_text().count(", in work\n")
        # two workers at once, and again after 0.5 and 1 s; it was hundreds
        assert 2 <= deaths <= 6
        assert wait(
            lambda: [one for one in examine("http://127.0.0.1:9") if "as soon as they start" in one.found]
        )
        file.write_text(good)
        wait(lambda: here.pool({"ask": "status"})["idle"] == 2, 20)
        case = here.order("A-1")
        assert here.pool({"ask": "launch", "run": here.run("dispatch").run_id})["ok"]
        wait(lambda: here.case(case).state == "completed")


def home_of(here: Shop) -> Path:
    return Path(here.environment["DAGSTER_HOME"])


def test_a_pool_that_is_told_to_stop_lets_runs_end(here: Shop) -> None:
    with pool(here) as process:
        case = here.job("slow", 1.5)
        assert here.pool({"ask": "launch", "run": here.run("slow").run_id})["ok"]
        wait(lambda: here.case(case).facts.steps.get("work"))
        process.terminate()
        assert process.wait(15) == 0
        assert here.case(case).state == "completed"


def test_a_question_that_is_none_does_not_hurt_the_pool(here: Shop) -> None:
    import socket

    with pool(here):
        for garbage in (b"", b"\n", b"{}\n", b"\xff\xfe\n", b'{"ask": "launch"}\n', b"x" * 100_000 + b"\n"):
            with socket.socket(socket.AF_UNIX) as line:
                line.connect(str(socket_of(here.settings)))
                line.sendall(garbage)
        assert here.pool({"ask": "status"})["idle"] == 1


def test_the_socket_is_for_its_owner_only(here: Shop) -> None:
    with pool(here):
        assert socket_of(here.settings).stat().st_mode & 0o077 == 0


def test_importing_the_pool_starts_nothing() -> None:
    code = "import openclaw_dagster.warm.pool, threading; print(threading.active_count())"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "1"
