"""The ledger's own housekeeping as a Dagster job: days are sealed, payloads past their retention shredded."""

import dagster as dg

from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.store import audit


def upkeep(shop: Workspace) -> tuple[dg.JobDefinition, dg.ScheduleDefinition]:
    """Return the job and its hourly schedule."""

    @dg.op(
        name="claw_upkeep__ledger",
        description="Seals the days that are over and shreds payloads past their retention.",
    )
    def keep(context: dg.OpExecutionContext) -> None:
        now = shop.clock.now()
        sealed = audit.seal(
            shop.ledger.database, now, lambda day, head: context.log.info(f"{day} sealed: {head}")
        )
        if sealed.doubt is not None:
            context.log.warning(sealed.doubt)
        gone = audit.shred(shop.ledger.database, now)
        context.add_output_metadata({"days sealed": len(sealed.made), "texts shredded": gone})

    @dg.job(
        name="claw_upkeep",
        executor_def=dg.in_process_executor,
        description="Seals days, shreds old payloads.",
    )
    def claw_upkeep() -> None:
        keep()

    schedule = dg.ScheduleDefinition(
        name="claw_upkeep_hourly",
        job=claw_upkeep,
        cron_schedule="17 * * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    return claw_upkeep, schedule
