"""The limits of `dagster.yaml` for whoever skips Dagster's queue: what the queue would let begin right now, and no more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.op_concurrency_limits_counter import GlobalOpConcurrencyLimitsCounter
from dagster._core.storage.dagster_run import ACTIVE_RUN_STATUSES, RunOpConcurrency
from dagster._core.storage.event_log.base import PoolLimit
from dagster._utils.concurrency import ConcurrencyKeyInfo
from dagster._utils.tags import TagConcurrencyLimitsCounter

from openclaw_dagster.runtime.tags import PRIORITY
from openclaw_dagster.spec.model import Stage, System

#: Dagster's own default.
MOST = 10
#: What "no limit" comes to in one look.
UNLIMITED = 1000
#: Runs of Dagster's queue that one look takes into account, oldest first.
QUEUE = 100


def pool_of(system: System, stage: Stage) -> str | None:
    """Return the Dagster pool of a stage: the adapter a step calls; decisions and runbooks call nobody."""
    if stage.kind == "decision" or system.step(stage.name).runbook is not None:
        return None
    return system.step(stage.name).action.partition(".")[0]


def pools_of(system: System) -> RunOpConcurrency | None:
    """Return what Dagster writes down of a run of the system when it is created: the pools its ops need."""
    pools = {stage.name: pool_of(system, stage) for stage in system.stages}
    needed = {pool for pool in pools.values() if pool is not None}
    if not needed:
        return None
    roots = [pools[stage.name] for stage in system.stages if not stage.after]
    counts = Counter(pool for pool in roots if pool is not None)
    return RunOpConcurrency(
        root_key_counts=dict(counts), has_unconstrained_root_nodes=None in roots, all_pools=needed
    )


class Room:
    """What an instance's limits leave at one moment, less what was taken since, counted as Dagster's queue counts."""

    def __init__(self, instance: DagsterInstance) -> None:
        config = instance.get_concurrency_config()
        queue = config.run_queue_config
        self._instance = instance
        self._most = queue.max_concurrent_runs if queue else MOST
        self._tag_limits = list(queue.tag_concurrency_limits) if queue else []
        self._blocks = bool(queue and queue.should_block_op_concurrency_limited_runs)
        self._buffer = queue.op_concurrency_slot_buffer if queue else 0
        self._granularity = config.pool_config.pool_granularity
        self._active = instance.get_run_records(RunsFilter(statuses=ACTIVE_RUN_STATUSES))
        self._pool_slots: dict[str, ConcurrencyKeyInfo] = {}
        self._taken: list[DagsterRun] = []

    def free(self, unlimited: int = UNLIMITED) -> int:
        """Return how many more runs `max_concurrent_runs` leaves, which counts as `unlimited` where it is none.

        Tags, pools and Dagster's queue may leave fewer.
        """
        most = unlimited if self._most < 0 else self._most
        return max(0, most - len(self._active) - len(self._taken))

    def minds(self, keys: Iterable[str]) -> bool:
        """Tell whether a tag limit counts by one of these tags."""
        return not {str(limit["key"]) for limit in self._tag_limits}.isdisjoint(keys)

    def fits(self, system: System, tags: Mapping[str, str], most: int) -> int:
        """Return how many runs of the system with these tags may begin now, at most `most`.

        A run that waits in Dagster's queue goes first, unless this one has the higher priority.
        """
        run = _run(system, tags)
        ahead = [one for one in self._queued if _priority(one) >= _priority(run)]
        tagged = TagConcurrencyLimitsCounter(
            self._tag_limits, [*(record.dagster_run for record in self._active), *self._taken]
        )
        pooled = self._pools([*ahead, *self._taken, run])
        for one in self._taken:
            pooled.update_counters_with_launched_item(one)
        free, found = self.free(), 0
        for one in [*sorted(ahead, key=_priority, reverse=True), *[run] * most]:
            if free < 1:
                break
            if tagged.is_blocked(one):
                continue
            tagged.update_counters_with_launched_item(one)
            if self._blocks and pooled.is_blocked(one):
                continue
            pooled.update_counters_with_launched_item(one)
            free -= 1
            found += one is run
        return found

    def take(self, system: System, tags: Mapping[str, str]) -> None:
        """Count one more run of the system with these tags as under way."""
        self._taken.append(_run(system, tags))

    @cached_property
    def _queued(self) -> list[DagsterRun]:
        waiting = RunsFilter(statuses=[DagsterRunStatus.QUEUED])
        return list(self._instance.get_runs(waiting, limit=QUEUE, ascending=True))

    @cached_property
    def _limited(self) -> tuple[set[str], Sequence[PoolLimit]]:
        """The pools that have a limit; none when nobody limits pools."""
        storage = self._instance.event_log_storage
        if not self._blocks:
            return set(), []
        return storage.get_concurrency_keys(), storage.get_pool_limits()

    def _pools(self, runs: list[DagsterRun]) -> GlobalOpConcurrencyLimitsCounter:
        keys, limits = self._limited
        if self._blocks and self._instance.global_op_concurrency_default_limit is not None:
            needed = {
                pool
                for run in runs
                if run.run_op_concurrency
                for pool in run.run_op_concurrency.all_pools or ()
            }
            if (
                new := needed - keys
            ):  # Dagster gives a pool its default when it first meets it, one look too late
                for pool in new:
                    self._instance.event_log_storage.initialize_concurrency_limit_to_default(pool)
                del self._limited
                keys, limits = self._limited
        return GlobalOpConcurrencyLimitsCounter(
            self._instance,
            runs if keys else [],
            self._active,
            concurrency_keys=keys,
            pool_limits=limits,
            slot_count_offset=self._buffer,
            pool_granularity=self._granularity,
            concurrency_info_by_key=self._pool_slots,
        )


def _run(system: System, tags: Mapping[str, str]) -> DagsterRun:
    return DagsterRun(job_name=system.name, tags=dict(tags), run_op_concurrency=pools_of(system))


def _priority(run: DagsterRun) -> int:
    try:
        return int(run.tags.get(PRIORITY, "0"))
    except ValueError:
        return 0
