"""Telling people where no host runs: a sensor that says what is due; the claim keeps it from saying anything twice."""

from __future__ import annotations

import dagster as dg

from openclaw_dagster.runtime.outbox import Sender
from openclaw_dagster.runtime.workspace import Workspace

#: Seconds between looks; the host says it at once, and a minute is soon enough where there is none.
INTERVAL = 30
#: Seconds that one look may take for each channel.
LONGEST = 15


def notices_sensor(shop: Workspace) -> list[dg.SensorDefinition]:
    """Return the sensor that tells people, for an environment that says how; else nothing."""
    if not shop.ways.by_scheme:
        return []

    def tick(_context: dg.SensorEvaluationContext) -> dg.SkipReason:
        sender = Sender(shop)
        sender.begin()
        said = sum(sender.drain(scheme, seconds=LONGEST) for scheme in shop.ways.by_scheme)
        return dg.SkipReason(f"{said} notices were taken up" if said else "there is nothing to say")

    return [
        dg.SensorDefinition(
            name="claw_notices",
            evaluation_fn=tick,
            minimum_interval_seconds=INTERVAL,
            default_status=dg.DefaultSensorStatus.RUNNING,
            description="Tells people what waits for them, where no host does so at once.",
        )
    ]
