"""Express beside the sensor, with Dagster's parts real: limits, turns, batches, races, and what happens without the pool."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster import DagsterInstance, RunsFilter
from dagster._core.storage.dagster_run import ACTIVE_RUN_STATUSES, RunRecord
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_graphql.schema import create_schema
from services.postgres import Postgres

from openclaw_dagster.cli.examination import examine
from openclaw_dagster.cli.instance import Home, prepare
from openclaw_dagster.compile.sensors import dispatch_sensor
from openclaw_dagster.runtime.tags import CASE, CASES, CRITICAL, SYSTEM, TRIGGER
from openclaw_dagster.store.entries import Kind
from openclaw_dagster.warm.express import Express
from openclaw_dagster.warm.launcher import LAUNCHER

from .kit import Shop, pool, shop, wait

PAGE = """query($run: ID!) { runOrError(runId: $run) { ... on Run { tags { key value }
  eventConnection { events {
    ... on ExecutionStepOutputEvent { stepKey metadataEntries { label ... on UrlMetadataEntry { url } } }
    ... on LogMessageEvent { message }
  } } } } }"""


@dataclass
class Host:
    """A shop with a code server and a pool of two workers; express and the instance's limits are each test's own."""

    shop: Shop
    home: Home
    plain: str
    code: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def serve_code(self) -> None:
        """Start the code server and wait until it answers."""
        words = ["dagster", "api", "grpc", "--socket", str(self.home.socket)]
        module = ["--module-name", "openclaw_dagster.definitions", "--location-name", "openclaw"]
        self.home.socket.unlink(missing_ok=True)
        self.code.append(
            subprocess.Popen(
                [sys.executable, "-m", *words, *module],
                env=self.shop.environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        wait(self.home.socket.exists, 60)

    def stop_code(self) -> None:
        """End the code server without a word."""
        for process in self.code:
            process.kill()
            process.wait(10)
        self.code.clear()

    @contextmanager
    def instance(self, runs: dict[str, Any] | None = None, **more: Any) -> Iterator[DagsterInstance]:
        """Give the instance as it is with these words in its `dagster.yaml`."""
        said = {**yaml.safe_load(self.plain), **more}
        said["concurrency"] = {
            "runs": {"max_concurrent_runs": 4, **(runs or {})},
            **more.get("concurrency", {}),
        }
        (self.home.dagster / "dagster.yaml").write_text(yaml.safe_dump(said))
        with DagsterInstance.get() as instance:
            yield instance

    @contextmanager
    def express(self, runs: dict[str, Any] | None = None, count: int = 1, **more: Any) -> Iterator[Express]:
        """Run express, as many times as a host has web processes, under the limits of `runs`."""
        target = WorkspaceFileTarget([str(self.home.workspace)])
        with ExitStack() as stack:
            found = []
            for _ in range(count):
                instance = stack.enter_context(self.instance(runs, **more))
                context = stack.enter_context(WorkspaceProcessContext(instance, target))
                found.append(Express(self.shop.workspace, context))
            for one in found:
                one.start()
                stack.callback(one.stop)
            yield found[0]

    def settled(self, cases: list[str], seconds: float = 60) -> None:
        """Wait until the cases are completed and no run is under way."""
        wait(lambda: all(self.shop.case(one).state == "completed" for one in cases), seconds)
        active = RunsFilter(statuses=ACTIVE_RUN_STATUSES)
        wait(lambda: not self.shop.instance.get_runs_count(active), seconds)

    def starts(self, cases: list[str]) -> dict[str, tuple[int, str]]:
        """Return when each case was started and by which run; each was started once."""
        found = {}
        for case in cases:
            started = [one for one in self.shop.workspace.ledger.journal(case) if one.kind is Kind.STARTED]
            assert len(started) == 1, f"{case} was started {len(started)} times"
            assert started[0].body
            found[case] = (started[0].at, str(started[0].body["run"]))
        return found

    def runs(self, cases: list[str]) -> list[RunRecord]:
        """Return the runs the cases were in, in the order they began."""
        ids = {run for _, run in self.starts(cases).values()}
        records = self.shop.instance.get_run_records(RunsFilter(run_ids=sorted(ids)))
        return sorted(records, key=lambda one: one.start_time or 0)


def together(records: list[RunRecord]) -> int:
    """Return how many of the runs were under way at once, at most."""
    edges = [(one.start_time or 0, 1) for one in records] + [(one.end_time or 0, -1) for one in records]
    now = most = 0
    for _, change in sorted(edges):
        now += change
        most = max(most, now)
    return most


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        if request.param == "postgres":
            server: Postgres = request.getfixturevalue("postgres")
            patch.setenv("CLAW_DATABASE_URL", server.fresh())
        here = stack.enter_context(shop(tmp_path_factory.mktemp(request.param), patch))
        home = prepare(here.settings)
        found = Host(here, home, (home.dagster / "dagster.yaml").read_text())
        stack.callback(found.stop_code)
        found.serve_code()
        stack.enter_context(pool(here, workers=2))
        yield found


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
        ticking.start()
        cases = []
        for number in range(60):
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


def test_without_the_pool_runs_are_processes_of_their_own_and_everybody_says_so(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = {
        "module": "openclaw_dagster.warm.launcher",
        "class": "WarmRunLauncher",
        "config": {"socket": str(tmp_path / "nobody.sock")},
    }
    with host.express(run_launcher=launcher) as express:
        case = host.shop.order("cold")
        express.wake()
        host.settled([case], 90)
        (record,) = host.runs([case])
        assert record.dagster_run.tags[LAUNCHER] == "cold"
        assert express.launched() == {"cold": 1}
        express.instance.run_launcher.join()
    monkeypatch.setenv("CLAW_HOME", str(tmp_path))
    (found,) = [one for one in examine("http://127.0.0.1:9") if one.what == "pool"]
    assert found.verdict == "warn"
    assert "processes of their own, which takes seconds" in found.found
    assert "claw serve" in found.repair


def test_with_every_worker_busy_a_case_waits_for_one(host: Host) -> None:
    with host.express() as express:
        busy = [host.shop.job(f"busy-{number}", 1.5) for number in range(2)]
        wait(lambda: host.shop.pool({"ask": "status"})["idle"] == 0)
        case = host.shop.order("busy")
        express.wake()
        (found,) = [one for one in examine("http://127.0.0.1:9") if one.what == "pool"]
        assert (found.verdict, found.found) == ("warn", "all 2 workers busy: due cases wait for one")
        assert host.shop.case(case).seq == 1
        host.settled([*busy, case])
        assert express.launched()["cold"] == 0
    (found,) = [one for one in examine("http://127.0.0.1:9") if one.what == "pool"]
    assert (found.verdict, found.found) == ("ok", "2 warm workers, 2 idle")


def test_while_the_code_is_away_nothing_is_claimed(host: Host) -> None:
    host.stop_code()
    try:
        with host.express() as express:
            case = host.shop.order("away")
            express.wake()
            time.sleep(2)
            assert [one.kind for one in host.shop.workspace.ledger.journal(case)] == [Kind.OPENED]
            host.serve_code()
            host.settled([case], 90)
        host.starts([case])
    finally:
        if not host.code:
            host.serve_code()


def test_a_run_that_cannot_be_launched_gives_its_cases_back(host: Host, tmp_path: Path) -> None:
    launcher = {
        "module": "openclaw_dagster.warm.launcher",
        "class": "WarmRunLauncher",
        "config": {"socket": str(tmp_path / "nobody.sock")},
    }
    with host.express(run_launcher=launcher) as express:
        host.settled([host.shop.order("back-0")], 90)  # it has the plan by now, and thinks the code is there
        for process in host.code:
            os.kill(process.pid, signal.SIGSTOP)
            os.kill(process.pid, signal.SIGKILL)
        case = host.shop.order("back")
        express.wake()
        ledger = host.shop.workspace.ledger
        wait(lambda: Kind.RELEASED in [one.kind for one in ledger.journal(case)], 30)
        time.sleep(2)
        lines = [one.kind for one in ledger.journal(case)]
        assert len(lines) < 15, lines
        host.stop_code()
        host.serve_code()
        host.settled([case], 90)
    host.starts([case])
    assert express.launched()["cold"] >= 2
