"""Several hosts and a broker between them, the carrier they call, and what is asked of all of them."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celery import Celery

from openclaw_dagster import settings
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.ledger import Ledger

from ..services.hosts import SETTLE, Hosts, hosts, until
from ..services.postgres import Postgres
from ..services.postgres import running as running_postgres
from ..services.rabbitmq import RabbitMQ
from ..services.redis import Redis
from .carrier import Carrier
from .project import ENVIRONMENT, SAMPLE, like_the_sample

#: Seconds of a lease here; and those after which everything must have ended by itself.
LEASE, UNAIDED = 10, 90
WORKERS = ("worker1", "worker2")
RUNS = "{ runsOrError(limit: 500) { ... on Runs { results { runId status } } } }"
TERMINATE = """mutation($id: String!) { terminateRun(runId: $id) { __typename } }"""


@dataclass
class Place:
    """Everything that runs, and the two sides that keep books: the ledger and the carrier."""

    hosts: Hosts
    carrier: Carrier
    broker: Redis | RabbitMQ
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

    def _runs(self) -> list[dict[str, str]]:
        return self.graphql(RUNS)["runsOrError"]["results"]  # type: ignore[no-any-return]

    def runs(self) -> list[str]:
        """Return the status of every Dagster run."""
        return [run["status"] for run in self._runs()]

    def in_a_call(self, order: str, seconds: float = 1.5) -> str:
        """Send an order whose booking takes a while; return its case as soon as the carrier is at it."""
        self.carrier.tell(order, "slow", seconds=seconds)
        (case_id,) = self.send([order]).values()
        self.carrier.saw(order)
        return case_id

    def workers(self) -> list[int]:
        """Return the processes of both worker hosts that execute runs."""
        pids = [pid for host in WORKERS for pid in self.hosts.pids(host)]
        return [pid for pid in pids if parent(pid) in pids and parent(parent(pid)) in pids]

    def terminate(self) -> None:
        """Stop the run that is under way, as somebody does in Dagster's pages."""
        (run,) = [one["runId"] for one in self._runs() if one["status"] in ("STARTED", "STARTING")]
        said = self.graphql(TERMINATE, id=run)["terminateRun"]["__typename"]
        assert said == "TerminateRunSuccess", said

    def logs(self) -> str:
        """Return what all hosts printed."""
        return "".join(self.hosts.log(name) for name in self.hosts.processes)


@contextmanager
def several(folder: Path, broker: Redis | RabbitMQ) -> Iterator[Place]:
    """Give two web hosts, a daemon and two worker hosts, each with a home of its own."""
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
    with running_postgres(fsync=True) as postgres:
        database = postgres.fresh()
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}", "HOME": str(folder),
            "LANG": "C.UTF-8", "TERM": "dumb", "PYTHONPATH": str(Path(settings.__file__).parents[1]),
            "CLAW_SPECS": str(specs), "CLAW_DATABASE_URL": database, "CLAW_LAUNCHER": "celery",
            "CLAW_BROKER_URL": broker.url, "CLAW_WORKERS": "2",
        }  # fmt: skip
        try:
            with hosts(folder, environment) as found:
                ledger = Ledger(Database(database))
                yield Place(found, carrier, broker, postgres, ledger)
                ledger.database.close()
        finally:
            carrier.close()


def busiest(place: Place) -> str:
    """Return the worker host that executes most runs at this moment; nothing when none executes any."""
    with Celery(broker=place.broker.url) as app:
        said = app.control.inspect(timeout=1).active() or {}
    busy = [task["worker_pid"] for tasks in said.values() for task in tasks]
    share = {host: len({*busy} & {*place.hosts.pids(host)}) for host in WORKERS}
    return max(share, key=lambda host: share[host]) if any(share.values()) else ""


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
        host = until(lambda: busiest(place), 20, "no host had anything to do")
        place.hosts.kill(host)
        since = time.monotonic()
        assert place.hosts.pids(host) == []
        assert booked() < len(orders)
        cases = sending.result()
    place.once(cases)
    print(f"a worker host killed: everything completed {time.monotonic() - since:.1f} s later")
    # Dagster hears of it too: no run is left that nobody executes, and only those of the dead host are failed
    until(lambda: "STARTED" not in place.runs(), 150, "a run of the dead host goes on")
    place.hosts.start(host)
    place.hosts.ready(host)
    time.sleep(SETTLE)
    assert place.runs().count("FAILURE") <= 2 * (burst + 1)
    return [case_id for case_id in cases.values() if place.kinds(case_id).count("case.started") > 1]


def a_host_is_killed_in_a_burst(place: Place) -> None:
    """Kill hosts until one had cases: in the very moment of a kill its runs may be at their begin or end."""
    assert any(killed_in_a_burst(place, burst) for burst in range(4)), "the host had nothing to do"
    assert "FAILURE" in place.runs()


def workers_die_in_a_call(place: Place) -> None:
    """Kill every worker while one of them is in a call; its host says so at once, and the call is not made twice."""
    case_id, workers = place.in_a_call("dies"), place.workers()
    assert len(workers) == 4
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    until(lambda: "case.orphaned" in place.kinds(case_id), 10, "nobody said that the worker died")
    place.once({"dies": case_id})
    place.hosts.ready(*WORKERS)


def a_run_is_terminated(place: Place) -> None:
    """Stop a run in Dagster's pages while it is in a call; it is cancelled, and its case goes on."""
    case_id = place.in_a_call("stopped")
    place.terminate()
    until(lambda: "CANCELED" in place.runs(), 20, "the run was not cancelled")
    place.once({"stopped": case_id})


def parent(pid: int) -> int:
    """Return the process that started this one; 0 when it is gone."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0
