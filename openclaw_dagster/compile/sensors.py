"""The dispatch sensor: claims every due case of its system and asks for a run."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from openclaw_dagster.errors import ClawError
from openclaw_dagster.runtime.tags import SYSTEM, lineage, run_tags
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.spec.model import System
from openclaw_dagster.warm.launcher import idle_of
from openclaw_dagster.warm.limits import Room
from openclaw_dagster.warm.turns import turns

#: Seconds between looks. Express dispatch is at once; the sensor is there when nothing else is, and each look costs.
INTERVAL = 30
#: Runs that one tick asks for: Dagster makes them one after another, up to 50 ms each.
MOST = 25


def dispatch_sensor(shop: Workspace, system: System) -> dg.SensorDefinition:
    """Return the sensor of a system; stopping it in the Dagster UI pauses the system."""

    def tick(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        # most looks find nothing: an instance is opened for those that do, and this asks for none
        if not shop.ledger.due([system.name]).systems:
            yield dg.SkipReason("no case is due")
            return
        try:
            idle_of(context.instance.run_launcher)
            shop.ledger.clocks.agree()
        except ClawError as trouble:
            yield dg.SkipReason(str(trouble))
            return
        # what is claimed and waits in Dagster's queue would outlive its lease: no more than may begin at once
        room = Room(context.instance)
        tags, most = {SYSTEM: system.name}, min(MOST, room.free())
        asked = 0
        for claim in turns(
            shop, room, [system.name], most=most, by="dispatch sensor", job_tags=lambda _: tags
        ):
            asked += 1
            yield dg.RunRequest(run_key=claim.id, tags={**run_tags(claim), **lineage(claim)})
        if not asked:
            yield dg.SkipReason("the limits of dagster.yaml leave no room, or others took what was due")

    return dg.SensorDefinition(
        name=f"{system.name}_dispatch",
        job_name=system.name,
        evaluation_fn=tick,
        minimum_interval_seconds=INTERVAL,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Claims due cases of {system.name} and asks for their runs. Stop it to pause the system.",
    )
