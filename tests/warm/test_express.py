"""Express beside the sensor, with Dagster's parts real: limits, turns, races, batches."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from typing import Any

import dagster as dg
import pytest
from dagster_graphql.schema import create_schema

from openclaw_dagster.compile.sensors import dispatch_sensor
from openclaw_dagster.runtime.tags import CASE, CASES, CRITICAL, SYSTEM, TRIGGER
from openclaw_dagster.store.entries import Kind

from .host import Host, together
from .kit import wait

PAGE = """query($run: ID!) { runOrError(runId: $run) { ... on Run { tags { key value }
  eventConnection { events {
    ... on ExecutionStepOutputEvent { stepKey metadataEntries { label ... on UrlMetadataEntry { url } } }
    ... on LogMessageEvent { message }
  } } } } }"""


def test_a_full_instance_lets_cases_wait_and_critical_ones_go_first(host: Host) -> None:
    with host.express({"max_concurrent_runs": 1}) as express:
        first = host.shop.job("full-0", 1.5)
        wait(lambda: host.shop.case(first).run_id)
        ordinary = [host.shop.job(f"full-{number}", 0) for number in range(1, 9)]
        time.sleep(0.3)
        urgent = host.shop.open("slow", "urgent", {"job": {"id": "full-9", "seconds": 0}}, "full-9")
        express.wake()
        time.sleep(0.3)
        assert {host.shop.case(one).seq for one in [*ordinary, urgent]} == {
            1
        }  # nobody claimed what cannot begin
        host.settled([first, urgent, *ordinary])
    starts = host.starts([first, urgent, *ordinary])
    assert starts[urgent][0] <= min(starts[one][0] for one in ordinary)
    assert starts[urgent][1] not in {starts[one][1] for one in ordinary}
    runs = host.runs([first, urgent, *ordinary])
    assert together(runs) == 1
    tags = {one.dagster_run.run_id: one.dagster_run.tags for one in runs}
    assert tags[starts[urgent][1]][CRITICAL] == "true"
    assert tags[starts[ordinary[0]][1]][CRITICAL] == "false"


@pytest.mark.parametrize(
    ("limit", "at_once"),
    [
        ({"key": SYSTEM, "value": "slow", "limit": 1}, {"slow": 1}),
        (
            {"key": SYSTEM, "value": {"applyLimitPerUniqueValue": True}, "limit": 1},
            {"slow": 1, "dispatch": 1},
        ),
        ({"key": SYSTEM, "limit": 1}, {"any": 1}),
        ({"key": TRIGGER, "value": "asked", "limit": 1}, {"asked": 1}),
    ],
    ids=["value", "per value", "key", "tag of the cases"],
)
def test_tag_limits_hold_and_others_go_past(
    host: Host, limit: dict[str, Any], at_once: dict[str, int], request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.id
    with host.express({"tag_concurrency_limits": [limit]}) as express:
        jobs = [host.shop.job(f"{name}-0", 1.5)]
        wait(lambda: host.shop.case(jobs[0]).run_id)
        jobs += [host.shop.job(f"{name}-{number}", 0.1) for number in range(1, 5)]
        orders = [host.shop.order(f"{name}-{number}") for number in range(3)]
        express.wake()
        time.sleep(0.5)
        assert {host.shop.case(one).seq for one in jobs[1:]} == {
            1
        }  # waiting, without a line in their journals
        host.settled([*jobs, *orders])
    runs = host.runs([*jobs, *orders])
    for group, most in at_once.items():
        mine = [one for one in runs if group in ("any", *one.dagster_run.tags.values())]
        assert mine
        assert together(mine) <= most
    first = min(at for at, _ in host.starts(jobs[1:]).values())
    if "any" not in at_once:
        assert max(at for at, _ in host.starts(orders).values()) < first  # the worker beside was not idle


def test_a_limit_by_trigger_lets_other_cases_of_the_system_past(host: Host) -> None:
    limit = {"key": TRIGGER, "value": "asked", "limit": 1}
    with host.express({"tag_concurrency_limits": [limit]}) as express:
        jobs = [host.shop.job("past-0", 1.5)]
        wait(lambda: host.shop.case(jobs[0]).run_id)
        jobs += [host.shop.job(f"past-{number}", 0) for number in range(1, 4)]
        wished = [
            host.shop.open("slow", "wished", {"job": {"id": str(number), "seconds": 0}}, f"past-{number}")
            for number in range(4, 7)
        ]
        express.wake()
        host.settled([*jobs, *wished])
    assert together(host.runs(jobs)) == 1
    waited = min(at for at, _ in host.starts(jobs[1:]).values())
    assert max(at for at, _ in host.starts(wished).values()) < waited


def test_a_pool_of_runs_holds(host: Host) -> None:
    with host.express(concurrency={"pools": {"granularity": "run"}}) as express:
        express.instance.event_log_storage.set_concurrency_slots("tms", 1)
        try:
            jobs = [host.shop.job("pool-0", 1.5)]
            wait(lambda: host.shop.case(jobs[0]).run_id)
            jobs += [host.shop.job(f"pool-{number}", 0.1) for number in range(1, 4)]
            order = host.shop.order("pool-0")
            express.wake()
            host.settled([*jobs, order])
        finally:
            express.instance.event_log_storage.delete_concurrency_limit("tms")
    assert together(host.runs(jobs)) == 1
    assert host.starts([order])[order][0] < min(at for at, _ in host.starts(jobs[1:]).values())


def test_a_stopped_sensor_pauses_its_system_alone(host: Host) -> None:
    with host.express() as express:
        location = express.context.create_request_context().get_code_location("openclaw")
        sensor = next(iter(location.get_repositories().values())).get_sensor("slow_dispatch")
        express.instance.stop_sensor(sensor.get_remote_origin_id(), sensor.selector_id, sensor)
        time.sleep(1.2)
        paused = host.shop.job("paused", 0)
        host.settled([host.shop.order("paused")])
        time.sleep(1.2)
        assert host.shop.case(paused).seq == 1
        express.instance.start_sensor(sensor)
        host.settled([paused])


def test_express_twice_and_the_sensor_at_once_start_each_case_once(host: Host) -> None:
    here = host.shop
    with host.express(count=2) as express, host.instance() as instance:
        sensor = dispatch_sensor(here.workspace, here.workspace.system("dispatch"))
        requests: list[dg.RunRequest] = []
        done = threading.Event()

        def tick() -> None:
            while not done.is_set():
                with dg.build_sensor_context(instance=instance) as context:
                    found = sensor(context)
                requests.extend(one for one in found or () if isinstance(one, dg.RunRequest))

        ticking = threading.Thread(target=tick)
        cases = []
        for number in range(400):
            if number >= 60 and requests:  # both have won some
                break
            if number == 5:  # the first ones are surely express', the sensor is in the race for all others
                wait(lambda: all(here.case(one).seq > 1 for one in cases))
                ticking.start()
            cases.append(here.order(f"race-{number}"))
            express.wake()
        wait(lambda: all(here.case(one).seq > 1 for one in cases))
        done.set()
        ticking.join(30)
        for request in requests:
            run = instance.create_run_for_job(_job(), tags=request.tags, job_code_origin=_origin())
            wait(lambda run=run: here.pool({"ask": "launch", "run": run.run_id})["ok"])
        host.settled(cases)
    claimers = Counter()
    for case in cases:
        (claimed,) = [one for one in here.workspace.ledger.journal(case) if one.kind is Kind.CLAIMED]
        assert claimed.body
        claimers[claimed.body["by"]] += 1
    assert set(claimers) == {"express", "dispatch sensor"}, claimers
    host.starts(cases)


def _job() -> Any:
    return _reconstructable().get_definition()


def _origin() -> Any:
    return _reconstructable().get_python_origin()


def _reconstructable() -> Any:
    from dagster._core.code_pointer import ModuleCodePointer
    from dagster._core.definitions.reconstruct import ReconstructableRepository

    pointer = ModuleCodePointer("openclaw_dagster.definitions", "defs", None)
    return ReconstructableRepository(pointer).get_reconstructable_job("dispatch")


def test_two_web_processes_keep_one_limit(host: Host) -> None:
    with host.express({"max_concurrent_runs": 1}, count=2) as express:
        cases = []
        for number in range(25):
            cases.append(
                host.shop.open("single", "asked", {"job": {"id": str(number), "seconds": 0}}, f"two-{number}")
            )
            express.wake()
        host.settled(cases)
    assert together(host.runs(cases)) == 1


def test_a_backlog_goes_in_batches_and_their_page_shows_the_cases(host: Host) -> None:
    cases = [host.shop.job(f"many-{number}", 0) for number in range(130)]
    with host.express() as express:
        host.settled(cases)
        runs = host.runs(cases)
        sizes = Counter(run for _, run in host.starts(cases).values())
        assert max(sizes.values()) == 50
        assert len(runs) <= 6
        for record in runs:
            tags = record.dagster_run.tags
            size = sizes[record.dagster_run.run_id]
            assert tags.get(CASES, "1") == str(size)
            assert (CASE in tags) == (size == 1)
        big = next(one.dagster_run.run_id for one in runs if sizes[one.dagster_run.run_id] == 50)
        mine = [case for case, (_, run) in host.starts(cases).items() if run == big]
        asked = create_schema().execute_async(
            PAGE, variable_values={"run": big}, context_value=express.context.create_request_context()
        )
        page = asyncio.run(asked)
    assert not page.errors
    events = page.data["runOrError"]["eventConnection"]["events"]
    links = {
        entry.get("url")
        for event in events
        if event.get("stepKey") == "work"
        for entry in event["metadataEntries"]
    }
    said = "\n".join(event.get("message", "") for event in events)
    for case in mine:
        assert f"{host.shop.settings.public_url}/claw/cases/{case}" in links
        assert case in said
        assert host.shop.case(case).run_id == big  # from a case to its run


def test_a_system_may_forbid_batches(host: Host) -> None:
    cases = [
        host.shop.open("single", "asked", {"job": {"id": str(number), "seconds": 0}}, f"alone-{number}")
        for number in range(25)
    ]
    with host.express():
        host.settled(cases)
    starts = host.starts(cases)
    assert len({run for _, run in starts.values()}) == 25
    for record in host.runs(cases):
        assert starts[record.dagster_run.tags[CASE]][1] == record.dagster_run.run_id
