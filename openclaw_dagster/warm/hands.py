"""What `celery -A openclaw_dagster.warm.hands worker` runs: a host's forked workers, warm, one run after another."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from billiard.exceptions import WorkerLostError
from celery import signals
from dagster import DagsterInstance
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import unpack_value
from dagster_celery.config import TASK_EXECUTE_JOB_NAME

from openclaw_dagster.settings import read_settings
from openclaw_dagster.warm.hosts import celery_app
from openclaw_dagster.warm.instance import keep
from openclaw_dagster.warm.pool import warm_up
from openclaw_dagster.warm.worker import execute

warm_up()
app = celery_app(read_settings().broker)


class _Hand:
    """One forked worker: its Dagster instance, which keeps its connections from run to run."""

    instance: DagsterInstance | None = None


@app.task(name=TASK_EXECUTE_JOB_NAME, max_retries=0)  # type: ignore[untyped-decorator]
def execute_job(execute_job_args_packed: Any) -> None:
    """Execute one run, as dagster-celery's task of this name does, with an instance that keeps its connections."""
    run_id = unpack_value(execute_job_args_packed, as_type=ExecuteRunArgs).run_id
    try:
        execute(run_id, _instance())
    except Exception:
        # its connections were kept while Postgres was restarted; a run that had begun is not begun again
        _Hand.instance = None
        execute(run_id, _instance())


def _instance() -> DagsterInstance:
    if _Hand.instance is None:
        instance = DagsterInstance.get()
        keep(instance)
        _Hand.instance = instance
    return _Hand.instance


@signals.worker_process_init.connect  # type: ignore[untyped-decorator]
def _begin(**_: Any) -> None:
    """Connect before the first run comes; a Ctrl-C in the terminal is for the host, which lets runs end."""
    os.setsid()
    try:
        _instance().get_runs_count()
    except Exception as error:  # Postgres is away: the first run tries again
        print(f"a worker begins without its database: {error}", file=sys.stderr)
        _Hand.instance = None


@signals.task_failure.connect  # type: ignore[untyped-decorator]
def _lost(exception: Any = None, args: Any = None, kwargs: Any = None, **_: Any) -> None:
    """Say at once that a worker of this host died in a run, from a process of its own: this one has no database."""
    if isinstance(exception, WorkerLostError):
        packed = (kwargs or {}).get("execute_job_args_packed") or args[0]
        run_id = unpack_value(packed, as_type=ExecuteRunArgs).run_id
        words = [run_id, f"host: {exception}"[:200], str(exception)[:200]]
        subprocess.Popen([sys.executable, "-m", "openclaw_dagster.warm.undertaker", *words])
