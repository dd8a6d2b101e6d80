"""A Dagster run launcher that hands runs to the pool of warm workers, and to Dagster's own launcher when it is down."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from dagster import DagsterRun
from dagster._core.launcher import (
    CheckRunHealthResult,
    DefaultRunLauncher,
    LaunchRunContext,
    RunLauncher,
    WorkerStatus,
)
from dagster._serdes import ConfigurableClass, ConfigurableClassData

from openclaw_dagster.settings import read_settings
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.ledger import Ledger
from openclaw_dagster.warm.cold import gone
from openclaw_dagster.warm.line import PoolDown, ask, socket_of

log = logging.getLogger(__name__)

#: Seconds for which a run waits for a free worker.
BUSY = 10.0
#: The tag that says which launcher a run went to.
LAUNCHER = "claw/launcher"


class WarmRunLauncher(RunLauncher[Any], ConfigurableClass):
    """Set it in `dagster.yaml` as `run_launcher: {module: openclaw_dagster.warm.launcher, class: WarmRunLauncher}`."""

    def __init__(self, socket: str | None = None, inst_data: ConfigurableClassData | None = None) -> None:
        self._inst_data = inst_data
        self._socket = Path(socket) if socket else socket_of(read_settings())
        self._cold = DefaultRunLauncher()
        #: How many runs this process handed to the pool (warm), and to processes of their own (cold).
        self.launched: Counter[str] = Counter()
        super().__init__()  # type: ignore[no-untyped-call]

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """What the instance was configured with."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> Mapping[str, Any]:
        """The configuration that `dagster.yaml` may give."""
        from dagster import Field, StringSource

        return {"socket": Field(StringSource, is_required=False, description="The pool's socket.")}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]
    ) -> WarmRunLauncher:
        """Build the launcher the way the instance does."""
        return cls(inst_data=inst_data, **config_value)

    def register_instance(self, instance: Any) -> None:
        """Be told which instance this launcher belongs to."""
        super().register_instance(instance)
        self._cold.register_instance(instance)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Hand the run to an idle worker; without one, or without a pool, to a process of its own."""
        run = context.dagster_run
        if self._hand_over(run.run_id):
            self.launched["warm"] += 1
            return
        self.launched["cold"] += 1
        self._instance.add_run_tags(run.run_id, {LAUNCHER: "cold"})
        self._cold.launch_run(context)

    def _hand_over(self, run_id: str) -> bool:
        """Give the run to the pool; a worker is soon free, and waiting for it is shorter than a process' start."""
        end = time.monotonic() + BUSY
        try:
            while not ask(self._socket, {"ask": "launch", "run": run_id})["ok"]:
                if time.monotonic() > end:
                    log.warning("no worker was free for %g s; the run gets a process of its own", BUSY)
                    return False
                time.sleep(0.05)
        except PoolDown as down:
            log.warning("%s; the run gets a process of its own, which takes seconds", down)
            return False
        return True

    def idle(self) -> int | None:
        """Return how many workers have nothing to do; None when the pool is down."""
        try:
            return int(ask(self._socket, {"ask": "status"}, seconds=1)["idle"])
        except PoolDown:
            return None

    def terminate(self, run_id: str) -> bool:
        """Interrupt the worker that has the run; return whether one had it."""
        try:
            if ask(self._socket, {"ask": "health", "run": run_id})["ok"]:
                # first, for a worker that is interrupted before that is said calls its run failed
                if (run := self._instance.get_run_by_id(run_id)) is not None and not run.is_finished:
                    self._instance.report_run_canceling(run)
                return bool(ask(self._socket, {"ask": "terminate", "run": run_id})["ok"])
        except PoolDown:
            pass
        return bool(self._cold.terminate(run_id))  # type: ignore[no-untyped-call]

    def join(self, timeout: int = 30) -> None:
        """Wait for runs in processes of their own."""
        self._cold.join(timeout)  # type: ignore[no-untyped-call]

    @cached_property
    def _ledger(self) -> Ledger:
        """The ledger, for whoever asks about runs: most processes have a launcher and never do."""
        return Ledger(Database(read_settings().database))

    def dispose(self) -> None:
        """Close what was opened."""
        self._cold.dispose()
        if "_ledger" in self.__dict__:
            self._ledger.database.close()

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Run monitoring can ask about workers."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Tell whether a worker has the run."""
        if run.tags.get(LAUNCHER) == "cold":
            if (why := gone(self._instance, self._ledger, run)) is not None:
                return CheckRunHealthResult(WorkerStatus.NOT_FOUND, why)
            return CheckRunHealthResult(WorkerStatus.RUNNING, "it has a process of its own")
        try:
            if ask(self._socket, {"ask": "health", "run": run.run_id})["ok"]:
                return CheckRunHealthResult(WorkerStatus.RUNNING)
        except PoolDown as down:
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, str(down))
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "no worker has the run any more")


def idle_of(launcher: object) -> int | None:
    """Return how many runs a launcher can begin at once; None when it does not know, as launchers of Dagster's own."""
    ask_for: Callable[[], int | None] | None = getattr(launcher, "idle", None)
    return ask_for() if ask_for else None
