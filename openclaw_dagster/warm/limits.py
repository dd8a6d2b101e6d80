"""How many more runs the instance allows right now: the limits of `dagster.yaml`, for the path that skips its queue."""

from __future__ import annotations

from collections.abc import Mapping

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

UNDER_WAY = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]
#: Dagster's own default.
MOST = 10


def room(instance: DagsterInstance) -> int:
    """Return how many more runs may begin before `concurrency.runs.max_concurrent_runs` is reached."""
    config = instance.get_concurrency_config().run_queue_config
    most = config.max_concurrent_runs if config else MOST
    if most < 0:  # Dagster's word for no limit
        return 1000
    return max(0, most - instance.get_runs_count(RunsFilter(statuses=UNDER_WAY)))


def tags_allow(instance: DagsterInstance, tags: Mapping[str, str]) -> bool:
    """Tell whether the tag limits of `dagster.yaml` leave room for one more run with these tags."""
    config = instance.get_concurrency_config().run_queue_config
    for limit in config.tag_concurrency_limits if config else ():
        key, value = limit["key"], limit.get("value")
        if key not in tags or (isinstance(value, str) and tags[key] != value):
            continue
        per_value = isinstance(value, dict) and value.get("applyLimitPerUniqueValue")
        wanted = {key: tags[key]} if isinstance(value, str) or per_value else {}
        running = instance.get_runs(RunsFilter(statuses=UNDER_WAY, tags=wanted))
        if sum(key in run.tags for run in running) >= int(limit["limit"]):
            return False
    return True
