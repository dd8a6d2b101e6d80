"""Every private name of Dagster this product stands on, by name: a release that moves one is found here first."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest
from dagster import DagsterInstance
from dagster._cli.api import _execute_run_command_body
from dagster._core.definitions.selector import JobSubsetSelector
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, RunLauncher, WorkerStatus
from dagster._core.op_concurrency_limits_counter import GlobalOpConcurrencyLimitsCounter
from dagster._core.run_coordinator.queued_run_coordinator import RunQueueConfig
from dagster._core.scheduler.instigation import InstigatorStatus, InstigatorType
from dagster._core.storage.dagster_run import ACTIVE_RUN_STATUSES, RunOpConcurrency
from dagster._core.storage.event_log import ConsolidatedSqliteEventLogStorage
from dagster._core.storage.event_log.base import EventLogStorage
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.schedules import SqlScheduleStorage
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._daemon.run_coordinator import QueuedRunCoordinatorDaemon
from dagster._utils.interrupts import capture_interrupts
from dagster._utils.tags import TagConcurrencyLimitsCounter
from dagster_webserver.webserver import DagsterWebserver


@pytest.mark.parametrize(
    ("called", "names"),
    [
        (_execute_run_command_body, "run_id instance write_stream_fn set_exit_code_on_failure"),
        (JobSubsetSelector, "location_name repository_name job_name op_selection"),
        (WorkspaceProcessContext, "instance workspace_load_target version"),
        (
            DagsterInstance.create_run,
            "job_name run_id run_config status tags root_run_id parent_run_id step_keys_to_execute "
            "execution_plan_snapshot job_snapshot parent_job_snapshot asset_selection asset_check_selection "
            "resolved_op_selection op_selection remote_job_origin job_code_origin asset_graph",
        ),
        (DagsterInstance.launch_run, "run_id workspace"),
        (DagsterInstance.report_run_failed, "dagster_run message"),
        (DagsterInstance.optimize_for_webserver, "statement_timeout pool_recycle max_overflow"),
        (SqliteRunStorage.from_local, "base_dir inst_data"),
        (TagConcurrencyLimitsCounter, "tag_concurrency_limits in_progress_tagged_items"),
        (
            GlobalOpConcurrencyLimitsCounter,
            "instance runs in_progress_run_records concurrency_keys pool_limits slot_count_offset "
            "pool_granularity concurrency_info_by_key",
        ),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_is_called_takes_what_it_is_given(called: Callable[..., Any], names: str) -> None:
    assert set(names.split()) <= set(inspect.signature(called).parameters)


def test_what_is_overridden_is_there() -> None:
    for owner, names in {
        RunLauncher: "launch_run terminate check_run_worker_health supports_check_run_worker_health join",
        ConsolidatedSqliteEventLogStorage: "_connect has_table",
        SqliteRunStorage: "connect has_run_stats_index_cols has_backfill_id_column has_bulk_actions_selector_cols",
        SqlScheduleStorage: "has_instigators_table _has_instigators_table has_secondary_index_table",
        DagsterWebserver: "build_routes create_asgi_app",
        TagConcurrencyLimitsCounter: "is_blocked update_counters_with_launched_item",
        GlobalOpConcurrencyLimitsCounter: "is_blocked update_counters_with_launched_item",
        EventLogStorage: "get_concurrency_keys get_pool_limits initialize_concurrency_limit_to_default",
        DagsterInstance: "get_concurrency_config global_op_concurrency_default_limit",
    }.items():
        for name in names.split():
            assert hasattr(owner, name), f"{owner.__name__}.{name}"


def test_what_is_read_is_there() -> None:
    assert InstigatorStatus.STOPPED
    assert InstigatorType.SENSOR
    assert {WorkerStatus.RUNNING, WorkerStatus.NOT_FOUND, WorkerStatus.UNKNOWN}
    assert CheckRunHealthResult(WorkerStatus.RUNNING).status is WorkerStatus.RUNNING
    assert issubclass(DefaultRunLauncher, RunLauncher)
    assert callable(capture_interrupts)
    assert WorkspaceFileTarget(["workspace.yaml"]).paths == ["workspace.yaml"]


def test_dagsters_queue_counts_what_this_product_counts() -> None:
    """Where its daemon counts otherwise, `warm/limits.py` has to follow."""
    source = inspect.getsource(QueuedRunCoordinatorDaemon)
    for words in (
        "max_runs_to_launch = max_concurrent_runs - len(in_progress_run_records)",
        "RunsFilter(statuses=ACTIVE_RUN_STATUSES)",
        "sorted(runs, key=get_priority, reverse=True)",
        "tag_concurrency_limits_counter.is_blocked(run)",
        "global_concurrency_limits_counter.is_blocked(run)",
    ):
        assert words in source, words
    fields = set(RunQueueConfig._fields)
    assert {"max_concurrent_runs", "tag_concurrency_limits"} <= fields
    assert {"should_block_op_concurrency_limited_runs", "op_concurrency_slot_buffer"} <= fields
    made = RunOpConcurrency(root_key_counts={}, has_unconstrained_root_nodes=True, all_pools={"carrier"})
    assert made.all_pools == {"carrier"}
    assert [one.value for one in ACTIVE_RUN_STATUSES] == ["STARTING", "STARTED", "CANCELING"]


def test_the_packages_that_must_match_do() -> None:
    assert len({version(name) for name in ("dagster", "dagster-webserver", "dagster-graphql")}) == 1
    assert version("dagster-postgres").split(".")[2] == version("dagster").split(".")[2]
