"""Limits of `dagster.yaml` beside Dagster's queue: each kind of limit, what waits in the queue, and who goes first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)

from openclaw_dagster.compile.jobs import job_of
from openclaw_dagster.runtime.tags import CRITICAL, SYSTEM, TRIGGER
from openclaw_dagster.spec.model import System
from openclaw_dagster.warm.limits import Room, pools_of

from .kit import Shop


def limited(here: Shop, **concurrency: Any) -> DagsterInstance:
    """Return the instance as it is with these limits in `dagster.yaml`."""
    file = here.settings.home / "dagster" / "dagster.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "concurrency": concurrency}))
    return DagsterInstance.get()


def run(
    here: Shop,
    instance: DagsterInstance,
    status: DagsterRunStatus,
    tags: Mapping[str, str] = {},
    name: str = "x",
) -> DagsterRun:
    """Add a run as Dagster's storage has it."""
    system = here.workspace.systems.get(name)
    place = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("openclaw"), "__repository__")
    made = DagsterRun(
        job_name=name,
        status=status,
        tags=dict(tags),
        run_op_concurrency=pools_of(system) if system else None,
        remote_job_origin=RemoteJobOrigin(place, name),
    )
    return instance.run_storage.add_run(made)


def dispatch(here: Shop) -> System:
    return here.workspace.system("dispatch")


ORDINARY = {SYSTEM: "dispatch", TRIGGER: "order_created", CRITICAL: "false"}
URGENT = {**ORDINARY, CRITICAL: "true", "dagster/priority": "10"}
STARTED, QUEUED = DagsterRunStatus.STARTED, DagsterRunStatus.QUEUED


def test_as_many_runs_may_begin_as_the_instance_leaves(here: Shop) -> None:
    with limited(here, runs={"max_concurrent_runs": 3}) as instance:
        assert Room(instance).fits(dispatch(here), ORDINARY, 10) == 3
        for status in (
            STARTED,
            DagsterRunStatus.STARTING,
            DagsterRunStatus.SUCCESS,
            DagsterRunStatus.NOT_STARTED,
        ):
            run(here, instance, status)
        room = Room(instance)
        assert (room.free(), room.fits(dispatch(here), ORDINARY, 10)) == (1, 1)
        room.take(dispatch(here), ORDINARY)
        assert (room.free(), room.fits(dispatch(here), ORDINARY, 10)) == (0, 0)


@pytest.mark.parametrize(("said", "most"), [(-1, 25), (0, 0)])
def test_no_limit_and_none_at_all(here: Shop, said: int, most: int) -> None:
    with limited(here, runs={"max_concurrent_runs": said}) as instance:
        assert Room(instance).fits(dispatch(here), ORDINARY, 25) == most
        assert Room(instance).free(unlimited=7) == (7 if said else 0)


@pytest.mark.parametrize(
    ("limit", "others"),
    [
        ({"key": SYSTEM, "limit": 2}, {SYSTEM: "any"}),
        ({"key": SYSTEM, "value": "dispatch", "limit": 2}, {SYSTEM: "dispatch"}),
        ({"key": SYSTEM, "value": {"applyLimitPerUniqueValue": True}, "limit": 2}, {SYSTEM: "dispatch"}),
        ({"key": TRIGGER, "value": "order_created", "limit": 2}, {TRIGGER: "order_created"}),
        ({"key": "team", "limit": 2}, {"team": "any"}),
    ],
    ids=["key", "key and value", "per value", "tag of the cases", "tag of the job"],
)
def test_every_form_of_tag_limit_counts_every_tag_of_the_run(
    here: Shop, limit: dict[str, Any], others: dict[str, str]
) -> None:
    tags = {**ORDINARY, "team": "logistics"}
    with limited(here, runs={"max_concurrent_runs": 9, "tag_concurrency_limits": [limit]}) as instance:
        run(here, instance, STARTED, {"unrelated": "yes"})
        assert Room(instance).fits(dispatch(here), tags, 9) == 2
        run(here, instance, STARTED, others)
        room = Room(instance)
        assert room.fits(dispatch(here), tags, 9) == 1
        room.take(dispatch(here), tags)
        assert room.fits(dispatch(here), tags, 9) == 0
        assert room.fits(dispatch(here), {"other": "tags"}, 9) == 6
        assert room.minds([limit["key"]])
        assert not room.minds(["another"])


def test_a_run_in_dagsters_queue_goes_first_unless_ours_has_the_higher_priority(here: Shop) -> None:
    with limited(here, runs={"max_concurrent_runs": 2}) as instance:
        run(here, instance, STARTED)
        assert Room(instance).fits(dispatch(here), ORDINARY, 9) == 1
        run(here, instance, QUEUED)
        assert Room(instance).fits(dispatch(here), ORDINARY, 9) == 0
        assert Room(instance).fits(dispatch(here), URGENT, 9) == 1
        run(here, instance, QUEUED, {"dagster/priority": "10"})
        assert Room(instance).fits(dispatch(here), URGENT, 9) == 0


def test_a_queued_run_that_its_own_limit_holds_back_takes_no_room(here: Shop) -> None:
    limits = [{"key": "slow", "limit": 1}]
    with limited(here, runs={"max_concurrent_runs": 3, "tag_concurrency_limits": limits}) as instance:
        run(here, instance, STARTED, {"slow": "a"})
        for _ in range(5):
            run(here, instance, QUEUED, {"slow": "b"})
        assert Room(instance).fits(dispatch(here), ORDINARY, 9) == 2


def test_a_pool_of_runs_is_kept(here: Shop) -> None:
    with limited(here, runs={"max_concurrent_runs": 9}, pools={"granularity": "run"}) as instance:
        instance.event_log_storage.set_concurrency_slots("carrier", 2)
        assert Room(instance).fits(dispatch(here), ORDINARY, 9) == 2
        run(here, instance, STARTED, name="dispatch")
        room = Room(instance)
        assert room.fits(dispatch(here), ORDINARY, 9) == 1
        room.take(dispatch(here), ORDINARY)
        assert room.fits(dispatch(here), ORDINARY, 9) == 0
        assert room.fits(here.workspace.system("slow"), {SYSTEM: "slow"}, 9) == 7  # another adapter


def test_the_default_limit_of_pools_holds_for_adapters(here: Shop) -> None:
    pools = {"granularity": "run", "default_limit": 1}
    with limited(here, runs={"max_concurrent_runs": 9}, pools=pools) as instance:
        room = Room(instance)
        assert room.fits(dispatch(here), ORDINARY, 9) == 1


def test_the_pools_of_a_run_are_those_dagster_finds(here: Shop) -> None:
    for name, pool in (("dispatch", "carrier"), ("slow", "tms")):
        system = here.workspace.system(name)
        made = here.instance.create_run_for_job(job_of(here.workspace, system))
        assert made.run_op_concurrency == pools_of(system)
        assert made.run_op_concurrency
        assert made.run_op_concurrency.all_pools == {pool}
