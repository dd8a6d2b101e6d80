"""The end of a worker that the pool sees: its run is reported failed and its cases are due, at once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterRunStatus

from openclaw_dagster.store.entries import Kind

from .kit import Shop, pool, shop, wait


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    with shop(tmp_path, monkeypatch) as found:
        yield found


def failed(here: Shop, run_id: str) -> bool:
    run = here.instance.get_run_by_id(run_id)
    return run is not None and run.status is DagsterRunStatus.FAILURE


def workers(here: Shop) -> list[int]:
    """Return the processes that the pool has forked."""
    pool_pid = here.pool({"ask": "status"})["pid"]
    children = Path(f"/proc/{pool_pid}/task/{pool_pid}/children").read_text()
    return [int(pid) for pid in children.split()]


def due(here: Shop, case_id: str) -> bool:
    case = here.case(case_id)
    return case.state == "open" and (case.due_at or 1 << 60) <= time.time() * 1000


@pytest.mark.parametrize("moment", ["before it took hold", "in a step"])
def test_the_cases_of_a_killed_worker_are_due_at_once(here: Shop, moment: str) -> None:
    with pool(here):
        case_id = here.job("slow", 20)
        run = here.run("slow")
        assert here.case(case_id).state == "running"
        (pid,) = workers(here)
        if moment == "before it took hold":
            os.kill(pid, signal.SIGSTOP)
        assert here.pool({"ask": "launch", "run": run.run_id})["pid"] == pid
        if moment == "in a step":
            wait(lambda: here.case(case_id).facts.steps.get("work"))
        os.kill(pid, signal.SIGKILL)
        begun = time.monotonic()
        wait(lambda: due(here, case_id))
        wait(lambda: failed(here, run.run_id))
        assert time.monotonic() - begun < 10  # the lease has 45 s
        last = here.workspace.ledger.journal(case_id)[-1]
        assert last.kind is (Kind.ORPHANED if moment == "in a step" else Kind.RELEASED)
        assert (last.body or {})["by"] == f"pool: worker {pid} ended with -9"


def test_a_run_that_had_settled_its_cases_leaves_them_alone(here: Shop) -> None:
    with pool(here):
        case_id = here.order("A-1")
        run = here.run("dispatch")
        assert here.pool({"ask": "launch", "run": run.run_id})["ok"]
        wait(lambda: here.case(case_id).state == "completed")
        before = here.case(case_id)
        for pid in workers(here):
            os.kill(pid, signal.SIGKILL)
        wait(lambda: here.pool({"ask": "status"})["idle"] == 1)
        time.sleep(1)
        assert here.case(case_id) == before
