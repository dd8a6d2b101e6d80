"""Express: the process that hears of a due case claims it and launches its run at once; the sensor is the safety net."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dagster import DagsterRunStatus
from dagster._core.definitions.selector import JobSubsetSelector
from dagster._core.remote_representation.external import RemoteJob
from dagster._core.workspace.context import WorkspaceProcessContext

from openclaw_dagster.errors import ClawError
from openclaw_dagster.runtime.tags import lineage, run_tags
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.store.agenda import turn
from openclaw_dagster.store.ledger import Claim
from openclaw_dagster.warm.launcher import idle_of
from openclaw_dagster.warm.limits import MOST, Room
from openclaw_dagster.warm.turns import turns

log = logging.getLogger(__name__)

#: Seconds between looks while cases wait for a free worker.
CROWDED = 0.02
#: Seconds between looks while cases wait for room within the limits of `dagster.yaml`, or for their code.
FULL = 0.1
#: Seconds between looks when nobody woke us: for retries that come due, and for cases made due elsewhere.
QUIET = 1.0


@dataclass(frozen=True)
class Plan:
    """What Dagster wants to know of a job to make a run of it; the same until the code location reloads."""

    job: RemoteJob
    snapshot: Any
    graph: Any


class Express:
    """One thread that turns due cases into runs as soon as there is room."""

    def __init__(self, shop: Workspace, context: WorkspaceProcessContext) -> None:
        self.shop = shop
        self.context = context
        self.instance = context.instance
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._plans: dict[str, tuple[str, Plan]] = {}
        self._away: set[str] = set()
        self._paused: tuple[float, frozenset[str]] = (0.0, frozenset())
        self._thread = threading.Thread(target=self._run, name="claw-express", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._wake.set()
        self._thread.join(5)

    def wake(self) -> None:
        """Say that a case has become due."""
        self._wake.set()

    def launched(self) -> Mapping[str, int]:
        """Return how many runs went to each launcher since this process began, where the launcher keeps count."""
        found: Mapping[str, int] = getattr(self.instance.run_launcher, "launched", {})
        return found

    def _run(self) -> None:
        self._prepare()
        wait = 0.0
        while not self._stop.is_set():
            self._wake.wait(wait)
            self._wake.clear()
            try:
                wait = self._look()
            except ClawError as error:
                log.warning("express dispatch pauses: %s", error)
                wait = QUIET
            except Exception:
                log.exception("express dispatch failed; the sensor goes on")
                wait = QUIET * 5

    def _prepare(self) -> None:
        """Ask for every job's plan before the first event does: it takes the better part of a second."""
        for system in self.shop.systems:
            try:
                self._plan(self.context.create_request_context(), system)
            except Exception as error:  # whatever it is, the first look meets it again and says it
                log.info("the plan of %s is not there yet: %s", system, error)

    def _look(self) -> float:
        """Launch runs for what is due; return the seconds until the next look."""
        due = self.shop.ledger.due(self.shop.systems)
        waiting = [one.system for one in due.systems if one.system not in self._stopped()]
        if not waiting:
            return min(QUIET, max(0.0, ((due.next_at or 1 << 60) - self.shop.clock.now()) / 1000))
        idle = idle_of(self.instance.run_launcher)
        if idle == 0:
            return CROWDED
        with turn(self.shop.ledger.database) as mine:
            return self._dispatch(waiting, idle) if mine else CROWDED

    def _dispatch(self, systems: Sequence[str], idle: int | None) -> float:
        """Launch a run for each idle worker, or each process there may be; return the seconds until the next look."""
        room = Room(self.instance)
        # without a pool a run is a process of its own: where nothing is limited, each case would be one
        most = room.free(MOST) if idle is None else min(room.free(), idle)
        request = self.context.create_request_context()
        launched = 0
        for claim in turns(
            self.shop, room, systems, most=most, by="express", job_tags=lambda one: self._tags(request, one)
        ):
            self._launch(claim, request)
            launched += 1
        if not launched:
            return FULL
        return CROWDED if launched == most else 0.0

    def _tags(self, request: Any, system: str) -> Mapping[str, str] | None:
        """Return the tags of a system's job; None while no code location has it, so that nothing is claimed in vain."""
        try:
            tags = self._plan(request, system).job.run_tags or {}
        except LocationAway as away:
            if system not in self._away:
                log.warning("%s", away)
            self._away.add(system)
            return None
        self._away.discard(system)
        return tags

    def _launch(self, claim: Claim, request: Any) -> None:
        try:
            plan = self._plan(request, claim.system)
            run = self.instance.create_run(
                job_name=claim.system, run_id=None, run_config={}, status=DagsterRunStatus.NOT_STARTED,
                tags={**(plan.job.run_tags or {}), **run_tags(claim), **lineage(claim), "dagster/run_key": claim.id},
                root_run_id=None, parent_run_id=None, step_keys_to_execute=None, execution_plan_snapshot=plan.snapshot,
                job_snapshot=plan.job.job_snapshot, parent_job_snapshot=plan.job.parent_job_snapshot, asset_selection=None,
                asset_check_selection=None, resolved_op_selection=None, op_selection=None,
                remote_job_origin=plan.job.get_remote_origin(), job_code_origin=plan.job.get_python_origin(),
                asset_graph=plan.graph,
            )  # fmt: skip
            self.instance.launch_run(run.run_id, request)
        except Exception:
            # nobody has begun it: give the cases back at once instead of waiting for the lease
            self.shop.ledger.release(claim.id, by="express: the run could not be launched")
            raise

    def _plan(self, request: Any, system: str) -> Plan:
        location = self._location(request, system)
        server = location.server_id if hasattr(location, "server_id") else location.name
        known = self._plans.get(system)
        if known is not None and known[0] == server:
            return known[1]
        repository = next(iter(location.get_repositories().values()))
        job = location.get_job(JobSubsetSelector(location.name, repository.name, system, None))
        plan = location.get_execution_plan(
            job, {}, step_keys_to_execute=None, known_state=None, instance=self.instance
        )
        made = Plan(job, plan.execution_plan_snapshot, repository.asset_graph)
        self._plans[system] = (server, made)
        return made

    def _location(self, request: Any, system: str) -> Any:
        for name in request.code_location_names:
            if not request.has_code_location(name):
                continue
            location = request.get_code_location(name)
            for repository in location.get_repositories().values():
                if repository.has_job(system):
                    return location
        raise LocationAway(system=system)

    def _stopped(self) -> frozenset[str]:
        """Return the systems whose dispatch sensor somebody stopped in the Dagster UI: they are paused."""
        at, known = self._paused
        if time.monotonic() - at > 1.0:
            known = frozenset(stopped_systems(self.instance, self.shop.systems))
            self._paused = (time.monotonic(), known)
        return known


class LocationAway(ClawError):
    """No code location with the job {system} is loaded, so its cases wait: look at the deployment page of the Dagster UI."""

    code = "CLAW450"


def stopped_systems(instance: Any, systems: Mapping[str, object]) -> set[str]:
    """Return the systems whose dispatch sensor is stopped."""
    from dagster._core.scheduler.instigation import InstigatorStatus, InstigatorType

    states = instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
    stopped = {state.instigator_name for state in states if state.status == InstigatorStatus.STOPPED}
    return {name for name in systems if f"{name}_dispatch" in stopped}
