"""Schedule triggers: a Dagster schedule whose tick appends the event and asks for the run."""

from __future__ import annotations

import logging
from collections import deque
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

log = logging.getLogger(__name__)

#: A tick evaluated this long (ms) after its time was missed, not merely late.
LATE = 5 * MINUTE
#: How many missed ticks are made up for at most, the newest ones.
MOST_MISSED = 1_000


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
        moments = [*_made_up_for(shop, system, trigger, at), at]
        ticks = [intake.tick(trigger, int(moment.timestamp() * 1000)) for moment in moments]
        receipts = shop.ledger.receive([intake.arrival(system, trigger, *one) for one in ticks])
        if len(moments) > 1:
            said = "%s.%s: %d missed ticks are made up for, from %s on"
            log.info(said, system.name, trigger.name, len(moments) - 1, moments[0].isoformat())
        yield begin(shop, system, receipts[-1].case_id, by="schedule")

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


def _made_up_for(shop: Workspace, system: System, trigger: ScheduleTrigger, at: datetime) -> list[datetime]:
    """Return the moments between the last event of a schedule and now that nobody was there for, the oldest first.

    Dagster makes up only for the last one of a schedule without partitions, so the ledger is asked.
    """
    last = shop.ledger.last_tick(system.name, trigger.name) if trigger.catchup == "all" else None
    if last is None:
        return []
    zone, found = ZoneInfo(trigger.timezone), deque[datetime](maxlen=MOST_MISSED)
    for moment in CronSim(trigger.cron, datetime.fromisoformat(last).astimezone(zone)):
        if moment >= at:
            break
        found.append(moment.astimezone(UTC))
    return list(found)


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
