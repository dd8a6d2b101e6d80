"""System in, Dagster definitions out: what becomes what, on one screen."""

from __future__ import annotations

import dagster as dg

from openclaw_dagster.compile.conditions import conditions_of
from openclaw_dagster.compile.jobs import job_of
from openclaw_dagster.compile.notices import notices_sensor
from openclaw_dagster.compile.schedules import schedules_of
from openclaw_dagster.compile.sensors import dispatch_sensor
from openclaw_dagster.compile.upkeep import upkeep
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.spec.model import System


def compile_system(shop: Workspace, system: System) -> dg.Definitions:
    """Return the job, the dispatch sensor and the schedules of one system."""
    return dg.Definitions(
        jobs=[job_of(shop, system)],
        sensors=[dispatch_sensor(shop, system), *conditions_of(shop, system)],
        schedules=schedules_of(shop, system),
    )


def compile_project(shop: Workspace) -> dg.Definitions:
    """Return the definitions of every system of a project, the ledger's upkeep, and what tells people."""
    job, schedule = upkeep(shop)
    own = dg.Definitions(jobs=[job], schedules=[schedule], sensors=notices_sensor(shop))
    return dg.Definitions.merge(own, *(compile_system(shop, system) for system in shop.systems.values()))
