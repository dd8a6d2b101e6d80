"""The dispatch sensor: claims every due case of its system and asks for a run."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from openclaw_dagster.runtime.backlog import batch_size
from openclaw_dagster.runtime.tags import run_tags
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.spec.model import System

#: Seconds between looks. Express dispatch is at once; the sensor is there when nothing else is, and each look costs.
INTERVAL = 30
UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


def dispatch_sensor(shop: Workspace, system: System) -> dg.SensorDefinition:
    """Return the sensor of a system; stopping it in the Dagster UI pauses the system."""

    def tick(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        room = room_for_runs(context.instance)
        waiting = sum(due.count for due in shop.ledger.due([system.name]).systems)
        size = batch_size(waiting, room, system.batch)
        asked = 0
        while waiting and asked < room:
            claim = shop.ledger.claim(
                system.name, limit=size, lease=shop.environment.lease, by="dispatch sensor"
            )
            if claim is None:
                break
            asked += 1
            yield dg.RunRequest(run_key=claim.id, tags=run_tags(claim))
        if not asked:
            yield dg.SkipReason(
                "no case is due" if room else "as many runs are under way as the instance allows"
            )

    return dg.SensorDefinition(
        name=f"{system.name}_dispatch",
        job_name=system.name,
        evaluation_fn=tick,
        minimum_interval_seconds=INTERVAL,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Claims due cases of {system.name} and asks for their runs. Stop it to pause the system.",
    )


def room_for_runs(instance: dg.DagsterInstance) -> int:
    """Return how many more runs may be under way: a claim that waits in Dagster's queue would outlive its lease."""
    limit = instance.get_concurrency_config().run_queue_config
    most = limit.max_concurrent_runs if limit and limit.max_concurrent_runs > 0 else 10
    return max(0, most - instance.get_runs_count(dg.RunsFilter(statuses=UNDER_WAY)))
