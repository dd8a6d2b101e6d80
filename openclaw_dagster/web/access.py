"""The one question of who may do what with the host, and the level each thing takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from openclaw_dagster.spec.login import Level
from openclaw_dagster.web.identity import Identity

Levels: TypeAlias = frozenset[Level]

VIEWER: Levels = frozenset({"viewer"})
OPERATOR: Levels = frozenset({"operator"})
READER: Levels = frozenset({"operator", "auditor"})
ADMIN: Levels = frozenset({"admin"})
NOBODY: Levels = frozenset()


@dataclass(frozen=True, slots=True)
class Doing:
    """Something that somebody wants to do; any one of the levels is enough, and without any nobody may."""

    what: str
    levels: Levels


@dataclass(frozen=True, slots=True)
class Allowed:
    """They may."""


@dataclass(frozen=True, slots=True)
class Refused:
    """They may not, and why, in words for them."""

    why: str
    status: int = 403


def may(identity: Identity, *doings: Doing) -> Allowed | Refused:
    """Decide whether somebody may do all of it."""
    for doing in doings:
        if not doing.levels:
            return Refused(f"{doing.what} is closed here, for everybody")
        if identity.levels.isdisjoint(doing.levels):
            needed = " or ".join(sorted(doing.levels))
            has = ", ".join(sorted(identity.levels)) or "none"
            return Refused(f"{doing.what} needs the level {needed}; {identity.name} has {has}")
    return Allowed()


# ── Dagster's mutations ─────────────────────────────────────────────────────────────────────────────────────

_MUTATIONS: dict[Levels, tuple[str, ...]] = {
    VIEWER: ("logTelemetry", "setNuxSeen"),
    OPERATOR: (
        *("launchPipelineExecution", "launchRun", "launchMultipleRuns"),
        *("launchPipelineReexecution", "launchRunReexecution"),
        *("terminatePipelineExecution", "terminateRun", "terminateRuns"),
        *("launchPartitionBackfill", "resumePartitionBackfill", "reexecutePartitionBackfill"),
        "cancelPartitionBackfill",
        *("startSchedule", "stopRunningSchedule", "resetSchedule"),
        *("startSensor", "stopSensor", "resetSensor"),
        *("reloadRepositoryLocation", "reloadWorkspace"),
    ),
    ADMIN: (
        *("deletePipelineRun", "deleteRun", "wipeAssets"),
        *(
            "setSensorCursor",
            "shutdownRepositoryLocation",
            "refreshComponentState",
            "setAutoMaterializePaused",
        ),
        *("addDynamicPartition", "deleteDynamicPartitions"),
        *("setConcurrencyLimit", "deleteConcurrencyLimit"),
        *("freeConcurrencySlots", "freeConcurrencySlotsForRun"),
    ),
    # what an asset is, its runs say; components come from files; a tick that is tried out opens and claims cases
    NOBODY: (
        *("scheduleDryRun", "sensorDryRun"),
        *("reportRunlessAssetEvents", "reportAssetCheckEvaluations"),
        *("setAppManagedComponent", "deleteAppManagedComponent"),
    ),
}
#: Each mutation of Dagster that was looked at, with the levels it takes.
MUTATIONS: dict[str, Levels] = {name: levels for levels, names in _MUTATIONS.items() for name in names}

#: Fields of queries that are more than a look at what is there, wherever they stand: `evaluationResult` evaluates a
#: schedule or a sensor, whose tick opens and claims cases; what runs printed is for readers, as its address is.
FIELDS: dict[str, Levels] = {
    "evaluationResult": NOBODY,
    "capturedLogs": READER,
    "capturedLogsMetadata": READER,
}

#: Those that make a run or a backfill, or come to nothing.
LAUNCHES = frozenset({
    "launchPipelineExecution", "launchRun", "launchMultipleRuns", "launchPipelineReexecution", "launchRunReexecution",
    "launchPartitionBackfill", "reexecutePartitionBackfill",
})  # fmt: skip
#: Those by which somebody wants the files to be read anew.
RELOADS = frozenset({"reloadRepositoryLocation", "reloadWorkspace", "shutdownRepositoryLocation"})

_PERMISSIONS: dict[Levels, tuple[str, ...]] = {
    OPERATOR: (
        *("launch_pipeline_execution", "launch_pipeline_reexecution", "terminate_pipeline_execution"),
        *("launch_partition_backfill", "cancel_partition_backfill"),
        *("start_schedule", "stop_running_schedule", "edit_sensor"),
        *("reload_repository_location", "reload_workspace"),
    ),
    ADMIN: (
        *("delete_pipeline_run", "wipe_assets", "update_sensor_cursor", "refresh_component_state"),
        *("edit_dynamic_partitions", "toggle_auto_materialize", "edit_concurrency_limit"),
    ),
    NOBODY: (
        *("report_runless_asset_events", "edit_app_managed_components"),
        *("schedule_dry_run", "sensor_dry_run"),
    ),
}
#: Each of Dagster's permissions, by which its pages decide what to show, with the levels it takes.
PERMISSIONS: dict[str, Levels] = {name: levels for levels, names in _PERMISSIONS.items() for name in names}


def mutation(name: str) -> Doing:
    """Return what it takes to call a mutation; one that nobody looked at is for admins."""
    return Doing(f"the mutation {name}", MUTATIONS.get(name, ADMIN))


def permits(identity: Identity, permission: str) -> bool:
    """Decide whether Dagster's pages offer something to somebody."""
    return not identity.levels.isdisjoint(PERMISSIONS.get(permission, ADMIN))
