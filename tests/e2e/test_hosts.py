"""Several hosts, Celery and a Redis between them: whatever of it is killed or comes twice, each order is booked once."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis as client
from celery import Celery

from openclaw_dagster import settings
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.ledger import Ledger

from ..services.hosts import SETTLE, Hosts, hosts, until
from ..services.postgres import Postgres
from ..services.postgres import running as running_postgres
from ..services.redis import Redis
from ..services.redis import running as running_redis
from .carrier import Carrier
from .project import ENVIRONMENT, SAMPLE, like_the_sample

pytestmark = pytest.mark.xdist_group("e2e_hosts")

#: Seconds of a lease here; and those after which everything must have ended by itself.
LEASE, UNAIDED = 10, 90
RUNS = "{ runsOrError(limit: 500) { ... on Runs { results { runId status } } } }"
TERMINATE = """mutation($id: String!) { terminateRun(runId: $id) { __typename } }"""


@dataclass
class Place:
    """Everything that runs, and the two sides that keep books: the ledger and the carrier."""

    hosts: Hosts
    carrier: Carrier
    redis: Redis
    postgres: Postgres
    ledger: Ledger

    def post(self, web: str, order: str) -> str | None:
        """Post an order to a web host; return its case when it was taken."""
        body = json.dumps({"order": {"id": order, "weight_kg": 2}}).encode()
        said = self.ask(web, "/hooks/brisk/order_created", body)
        return str(said["case"]) if "case" in said else None

    def ask(self, web: str, path: str, body: bytes) -> dict[str, Any]:
        request = urllib.request.Request(
            self.hosts.url(web) + path, body, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read())  # type: ignore[no-any-return]
        except (OSError, http.client.HTTPException):
            return {}

    def send(self, orders: list[str]) -> dict[str, str]:
        """Post orders to both web hosts in turn, each until it is taken; return their cases."""

        def one(numbered: tuple[int, str]) -> str:
            webs = ("web1", "web2")
            return until(lambda: self.post(webs[numbered[0] % 2], numbered[1]), 60, numbered[1])

        with ThreadPoolExecutor(8) as pool:
            return dict(zip(orders, pool.map(one, enumerate(orders)), strict=True))

    def case(self, case_id: str) -> Case:
        found = self.ledger.case(case_id)
        assert found is not None
        return found

    def kinds(self, case_id: str) -> list[str]:
        return [record.kind for record in self.ledger.journal(case_id)]

    def once(self, cases: dict[str, str], seconds: float = UNAIDED) -> None:
        """Wait until every case has completed; the carrier booked each order exactly once."""
        left = list(cases.values())

        def ended() -> bool:
            with suppress(Exception):  # the database may be away for a moment
                left[:] = [case_id for case_id in left if self.case(case_id).state != "completed"]
            return not left

        until(ended, seconds, f"cases that are not completed: {left[:5]}")
        booked = [one["order"] for one in self.carrier.books()["accepted"]]
        assert {order: booked.count(order) for order in cases} == dict.fromkeys(cases, 1)

    def graphql(self, query: str, **variables: str) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        return self.ask("web1", "/graphql", body).get("data") or {}

    def runs(self) -> list[str]:
        """Return the status of every Dagster run."""
        return [run["status"] for run in self.graphql(RUNS)["runsOrError"]["results"]]

    def in_a_call(self, order: str, seconds: float = 1.5) -> str:
        """Send an order whose booking takes a while; return its case as soon as the carrier is at it."""
        self.carrier.tell(order, "slow", seconds=seconds)
        (case_id,) = self.send([order]).values()
        self.carrier.saw(order)
        return case_id


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Give two web hosts, a daemon and two worker hosts, each with a home of its own."""
    folder: Path = tmp_path_factory.mktemp("hosts")
    carrier = Carrier()
    specs = folder / "specs"
    shutil.copytree(SAMPLE / "policies", specs / "policies")
    (specs / "environments").mkdir()
    lines = f"  carrier: {{use: http, url: '{carrier.url}', allow_private: true}}"
    text = ENVIRONMENT.format(adapters=lines).replace("lease: 15s", f"lease: {LEASE}s")
    (specs / "environments" / "development.yaml").write_text("unsigned_webhooks: true\n" + text)
    (specs / "brisk.claw").write_text(
        like_the_sample("brisk", {"retries: 3": "retries: 3\n      timeout: 2s"})
    )
    with running_postgres(fsync=True) as postgres, running_redis() as redis:
        database = postgres.fresh()
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}", "HOME": str(folder),
            "LANG": "C.UTF-8", "TERM": "dumb", "PYTHONPATH": str(Path(settings.__file__).parents[1]),
            "CLAW_SPECS": str(specs), "CLAW_DATABASE_URL": database, "CLAW_LAUNCHER": "celery",
            "CLAW_BROKER_URL": redis.url, "CLAW_WORKERS": "2",
        }  # fmt: skip
        try:
            with hosts(folder, environment) as found:
                ledger = Ledger(Database(database))
                yield Place(found, carrier, redis, postgres, ledger)
                ledger.database.close()
        finally:
            carrier.close()


def killed_in_a_burst(place: Place, burst: int) -> list[str]:
    """Kill a worker host in the middle of a burst, start it again, and return the cases that it had."""
    orders = [f"burst-{burst}-{number}" for number in range(100)]
    for order in orders:
        place.carrier.tell(order, "slow", seconds=0.3)

    def booked() -> int:
        return sum(one["order"].startswith(f"burst-{burst}-") for one in place.carrier.books()["accepted"])

    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(place.send, orders)
        until(lambda: booked() >= 20, 60, "nothing was booked")
        place.hosts.kill("worker1")
        since = time.monotonic()
        assert place.hosts.pids("worker1") == []
        assert booked() < len(orders)
        cases = sending.result()
    place.once(cases)
    print(f"a worker host killed: everything completed {time.monotonic() - since:.1f} s later")
    # Dagster hears of it too: no run is left that nobody executes, and only those of the dead host are failed
    until(lambda: "STARTED" not in place.runs(), 60, "a run of the dead host goes on")
    place.hosts.start("worker1")
    place.hosts.ready("worker1")
    time.sleep(SETTLE)
    return [case_id for case_id in cases.values() if place.kinds(case_id).count("case.started") > 1]


def test_a_burst_with_one_worker_host_killed_in_its_middle(place: Place) -> None:
    # in the very moment of the kill it may be between two runs: then it is killed once more
    assert any(killed_in_a_burst(place, burst) for burst in range(4)), "the host had nothing to do"
    assert 1 <= place.runs().count("FAILURE") <= 2


def test_an_order_that_is_sent_to_both_web_hosts_at_once_is_one_case(place: Place) -> None:
    orders = [f"twin-{number}" for number in range(10)]
    with ThreadPoolExecutor(20) as pool:
        both = [
            (pool.submit(place.post, "web1", one), pool.submit(place.post, "web2", one)) for one in orders
        ]
        cases = {}
        for order, (first, second) in zip(orders, both, strict=True):
            assert first.result() == second.result() is not None
            cases[order] = str(first.result())
    place.once(cases)


def test_a_task_that_is_delivered_again_does_nothing(place: Place) -> None:
    app, queue = Celery(broker=place.redis.url), client.Redis.from_url(place.redis.url)
    orders = [f"again-{number}" for number in range(4)]
    for order in orders:
        place.carrier.tell(order, "slow", seconds=1)
    assert len(app.control.cancel_consumer("dagster", reply=True, timeout=3)) == 2
    cases = place.send(orders)
    tasks = until(lambda: queue.lrange("dagster", 0, -1), 20, "no run was handed over")
    # as the broker does when a host does not say in time that it is done; here to all workers at the same moment
    queue.delete("dagster")
    queue.lpush("dagster", *[task for task in tasks for _ in range(4)])
    app.control.add_consumer("dagster", reply=True, timeout=3)
    place.once(cases)
    until(lambda: queue.llen("dagster") == 0, 30, "the copies were not taken")
    time.sleep(2)
    assert [len(place.carrier.posts(order)) for order in orders] == [1] * len(orders)
    assert [place.kinds(case_id).count("case.started") for case_id in cases.values()] == [1] * len(orders)
    app.close()
    queue.close()


def test_a_worker_that_dies_gives_its_case_back_at_once(place: Place) -> None:
    case_id = place.in_a_call("dies")
    pids = [pid for host in ("worker1", "worker2") for pid in place.hosts.pids(host)]
    busy = [pid for pid in pids if _parent(pid) in pids and _parent(_parent(pid)) in pids]
    assert len(busy) == 4
    for pid in busy:
        os.kill(pid, signal.SIGKILL)
    until(lambda: "case.orphaned" in place.kinds(case_id), 10, "nobody said that the worker died")
    place.once({"dies": case_id})
    place.hosts.ready("worker1", "worker2")


def test_a_run_that_is_terminated_ends_and_its_case_goes_on(place: Place) -> None:
    case_id = place.in_a_call("stopped")
    (run,) = [
        one
        for one in place.graphql(RUNS)["runsOrError"]["results"]
        if one["status"] in ("STARTED", "STARTING")
    ]
    assert place.graphql(TERMINATE, id=run["runId"])["terminateRun"]["__typename"] == "TerminateRunSuccess"
    until(lambda: "CANCELED" in place.runs(), 20, "the run was not cancelled")
    place.once({"stopped": case_id})


def test_a_worker_host_that_loads_files_anew_finishes_what_it_has(place: Place) -> None:
    before, case_id = {*place.hosts.pids("worker1")}, place.in_a_call("anew", 3)
    place.hosts.processes["worker1"].send_signal(signal.SIGUSR1)
    until(lambda: len({*place.hosts.pids("worker1")} & before) == 1, 60, "the old workers stayed")
    place.hosts.ready("worker1", "worker2")
    place.once({"anew": case_id})


def test_the_broker_is_gone_for_a_while_and_forgets_what_it_had(place: Place) -> None:
    before = place.send([f"before-{number}" for number in range(20)])
    place.redis.kill()
    since = time.monotonic()
    during = place.send([f"during-{number}" for number in range(20)])
    time.sleep(5)
    assert any(place.case(case_id).state != "completed" for case_id in during.values())
    place.redis.start()
    back = time.monotonic()
    place.once(before | during)
    print(
        f"broker away for {back - since:.1f} s: all completed {time.monotonic() - back:.1f} s after it was back"
    )
    log = "".join(place.hosts.log(name) for name in place.hosts.processes)
    assert f"The broker redis://127.0.0.1:{place.redis.port}/0 does not answer" in log
    assert place.redis.password not in log


def test_postgres_is_gone_for_a_while(place: Place) -> None:
    before = place.send([f"early-{number}" for number in range(10)])
    place.postgres.kill()
    assert place.post("web1", "refused") is None
    time.sleep(3)
    place.postgres.start()
    back = time.monotonic()
    place.once(before | place.send([f"late-{number}" for number in range(10)]), 60)
    print(f"Postgres killed: all completed {time.monotonic() - back:.1f} s after it was back")


def test_a_host_whose_main_process_is_killed_leaves_no_worker_behind(place: Place) -> None:
    pids = place.hosts.pids("worker2")
    (main,) = [pid for pid in pids if sum(_parent(one) == pid for one in pids) == 2]
    workers = [pid for pid in pids if _parent(pid) == main]
    os.kill(main, signal.SIGKILL)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), 10, "workers wait for nobody")
    place.hosts.ready("worker2")


def test_the_history_is_whole_after_all_of_it(place: Place) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "openclaw_dagster.cli", "audit", "verify"],
        env={**place.hosts.environment, "CLAW_HOME": str(place.hosts.home("web1"))},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def _parent(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0
