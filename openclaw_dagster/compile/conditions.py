"""Condition triggers: a Dagster sensor that asks, and requests the run of the case that starts."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from openclaw_dagster.compile.beginning import begin
from openclaw_dagster.runtime.conditions import Quiet, look
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.spec.model import System
from openclaw_dagster.spec.triggers import ConditionTrigger
from openclaw_dagster.spec.units import format_duration


def conditions_of(shop: Workspace, system: System) -> list[dg.SensorDefinition]:
    """Return a sensor for each condition trigger."""
    return [
        _sensor(shop, system, trigger) for trigger in system.triggers if isinstance(trigger, ConditionTrigger)
    ]


def _sensor(shop: Workspace, system: System, trigger: ConditionTrigger) -> dg.SensorDefinition:
    def tick(_context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        seen = look(shop, system, trigger)
        if isinstance(seen, Quiet):
            yield dg.SkipReason(seen.why)
            return
        yield begin(shop, system, seen.receipt.case_id, by="condition")

    held = f" for {format_duration(trigger.hold)}" if trigger.hold else ""
    return dg.SensorDefinition(
        name=f"{system.name}_{trigger.name}",
        job_name=system.name,
        evaluation_fn=tick,
        minimum_interval_seconds=trigger.every // 1000,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Starts a case of {system.name} when {trigger.when}{held}, asking {trigger.read}.",
    )
