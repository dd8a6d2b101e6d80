"""A Dagster run launcher that hands runs to Celery workers on as many machines as there are: dagster-celery's, told more."""

from __future__ import annotations

import time
import warnings
from typing import Any

from celery import Celery
from celery.exceptions import DuplicateTaskNameWarning
from dagster import DagsterRun
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG
from kombu.exceptions import OperationalError

from openclaw_dagster.errors import ClawError
from openclaw_dagster.settings import shown

# dagster-celery names its task anew at each launch
warnings.filterwarnings("ignore", category=DuplicateTaskNameWarning)

#: Seconds for which no host may know of a run before its host is taken for dead.
SILENCE = 15.0
#: Seconds the hosts get to say what they are doing, and for which their answer is good.
LISTEN, FRESH = 1.0, 3.0
#: Seconds for which a broker that answered is taken to answer.
ANSWERED = 1.0

#: How Celery is set up on both sides of the broker. A run's outcome is in Dagster and in the ledger: Celery keeps none.
CELERY: dict[str, Any] = {
    "task_ignore_result": True,
    # a host takes no more than it can execute: what waits, waits where every host can take it
    "worker_prefetch_multiplier": 1,
    "task_acks_late": True,
    # a task that comes again finds its run under way or over, and its claim started: it does nothing
    "task_reject_on_worker_lost": False,
    "worker_max_tasks_per_child": 500,
    "worker_send_task_events": False,
    "worker_hijack_root_logger": False,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "broker_transport_options": {
        "max_retries": 2,
        "interval_start": 0,
        "interval_step": 0.2,
        "interval_max": 0.5,
        "socket_connect_timeout": 3,
        "socket_timeout": 20,
        "socket_keepalive": True,
    },
}


class BrokerAway(ClawError):
    """The broker {broker} does not answer ({problem}), so no run can begin: cases wait in the ledger until it does."""

    code = "CLAW451"


class HostsRunLauncher(CeleryRunLauncher):
    """dagster-celery's launcher, which also knows whether its broker answers and which runs a living host executes.

    Set it in `dagster.yaml` as `run_launcher: {module: openclaw_dagster.warm.hosts, class: HostsRunLauncher,
    config: {broker: {env: CLAW_BROKER_URL}}}`.
    """

    def __init__(self, **config: Any) -> None:
        config["config_source"] = {**CELERY, **(config.get("config_source") or {})}
        super().__init__(**config)
        self._answered = 0.0
        self._heard: tuple[float, frozenset[str]] = (0.0, frozenset())
        self._missing: dict[str, float] = {}

    def idle(self) -> None:
        """Say nothing about free workers, which `dagster.yaml` counts; BrokerAway when no run can be handed over."""
        if time.monotonic() - self._answered < ANSWERED:
            return
        try:
            with self.celery.connection(connect_timeout=3) as broker:
                broker.ensure_connection(max_retries=1, timeout=3)
        except Exception as error:  # each transport has its own errors
            raise BrokerAway(broker=shown(self.broker or ""), problem=error) from error
        self._answered = time.monotonic()

    def launch_run(self, context: LaunchRunContext) -> None:
        """Hand the run to whichever host is free first; BrokerAway when nobody takes it."""
        try:
            super().launch_run(context)
        except OperationalError as error:
            self._answered = 0.0
            raise BrokerAway(broker=shown(self.broker or ""), problem=error) from error

    def terminate(self, run_id: str) -> bool:
        """Interrupt the worker that has the run, which then ends it as Dagster does; return whether the run was there."""
        run = self._instance.get_run_by_id(run_id)
        task = run.tags.get(DAGSTER_CELERY_TASK_ID_TAG) if run is not None else None
        if run is None or task is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        self.celery.control.revoke(task, terminate=True, signal="SIGINT")
        return True

    @property
    def supports_resume_run(self) -> bool:
        """A run is never resumed: its cases go on in a new one."""
        return False

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Tell whether a host executes the run; while that is not known for sure, the run is left alone."""
        task = run.tags.get(DAGSTER_CELERY_TASK_ID_TAG)
        known = self._under_way()
        if task is None or known is None or task in known:
            self._missing.pop(run.run_id, None)
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        now = time.monotonic()
        self._missing = {key: at for key, at in self._missing.items() if now - at < 600}
        if now - self._missing.setdefault(run.run_id, now) < SILENCE:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        why = "no host that answers has the run any more; its cases come back by their lease"
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, why)

    def _under_way(self) -> frozenset[str] | None:
        """Return the tasks that living hosts execute; None when the broker, and so every host, cannot be asked."""
        at, known = self._heard
        if time.monotonic() - at < FRESH:
            return known
        try:
            said = self.celery.control.inspect(timeout=LISTEN).active() or {}
        except Exception:  # each transport has its own errors, and none says anything about a host
            return None
        self._heard = (time.monotonic(), frozenset(task["id"] for tasks in said.values() for task in tasks))
        return self._heard[1]

    def get_run_worker_debug_info(self, run: DagsterRun, *_: Any, **__: Any) -> str:
        """Say under which name Celery knows the run."""
        return f"Celery task {run.tags.get(DAGSTER_CELERY_TASK_ID_TAG)}"


def celery_app(broker: str) -> Celery:
    """Return the Celery app of a worker host: the queues and routes of dagster-celery, set up as the launcher is."""
    from dagster_celery.make_app import make_app

    app: Celery = make_app(  # type: ignore[no-untyped-call]
        {"broker": broker, "config_source": CELERY, "task_default_queue": "dagster"}
    )
    return app
