"""Schedule triggers: a Dagster schedule whose tick appends the event and asks for the run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import dagster as dg
from cronsim import CronSim

from openclaw_dagster.clock import MINUTE
from openclaw_dagster.compile.beginning import begin
from openclaw_dagster.runtime import intake
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.spec.model import System
from openclaw_dagster.spec.triggers import ScheduleTrigger

#: A tick evaluated this long (ms) after its time was missed, not merely late.
LATE = 5 * MINUTE


def schedules_of(shop: Workspace, system: System) -> list[dg.ScheduleDefinition]:
    """Return a schedule for each schedule trigger."""
    return [
        _schedule(shop, system, trigger)
        for trigger in system.triggers
        if isinstance(trigger, ScheduleTrigger)
    ]


def _schedule(shop: Workspace, system: System, trigger: ScheduleTrigger) -> dg.ScheduleDefinition:
    def tick(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        at = context.scheduled_execution_time.astimezone(UTC)
        if (why := missed(trigger, at, shop.clock.now())) is not None:
            yield dg.SkipReason(why)
            return
        payload, moment = intake.tick(trigger, int(at.timestamp() * 1000))
        (receipt,) = shop.ledger.receive([intake.arrival(system, trigger, payload, moment)])
        yield begin(shop, system, receipt.case_id, by="schedule")

    return dg.ScheduleDefinition(
        name=f"{system.name}_{trigger.name}",
        job_name=system.name,
        cron_schedule=trigger.cron,
        execution_timezone=trigger.timezone,
        execution_fn=tick,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=(
            f"Starts a case of {system.name} at {trigger.cron} ({trigger.timezone}); "
            f"missed ticks: {trigger.catchup}."
        ),
    )


def missed(trigger: ScheduleTrigger, at: datetime, now: int) -> str | None:
    """Return why a tick is not made up for, or not begun yet; None when it is to run. `now` in ms."""
    if int(at.timestamp() * 1000) > now + MINUTE:
        return "its time has not come: a tick that is only tried out starts nothing"
    if now - int(at.timestamp() * 1000) < LATE or trigger.catchup == "all":
        return None
    if trigger.catchup == "none":
        return "its time has passed, and catchup is none"
    following = next(CronSim(trigger.cron, at.astimezone(ZoneInfo(trigger.timezone))))
    return (
        "a later tick has come meanwhile, and catchup is last"
        if following.timestamp() * 1000 <= now
        else None
    )
