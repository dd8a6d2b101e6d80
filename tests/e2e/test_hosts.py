"""Several hosts, Celery and a Redis between them: whatever of it is killed or comes twice, each order is booked once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis as client
from celery import Celery

from ..services.hosts import until
from ..services.redis import running as running_redis
from .place import (
    WORKERS,
    Place,
    a_host_is_killed_in_a_burst,
    a_run_is_terminated,
    parent,
    several,
    workers_die_in_a_call,
)

pytestmark = [pytest.mark.xdist_group("e2e_hosts"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Give two web hosts, a daemon and two worker hosts with a Redis between them."""
    with running_redis() as redis, several(tmp_path_factory.mktemp("hosts"), redis) as found:
        yield found


def test_a_burst_with_one_worker_host_killed_in_its_middle(place: Place) -> None:
    a_host_is_killed_in_a_burst(place)


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
    app, queue = Celery(broker=place.broker.url), client.Redis.from_url(place.broker.url)
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
    workers_die_in_a_call(place)


def test_a_run_that_is_terminated_ends_and_its_case_goes_on(place: Place) -> None:
    a_run_is_terminated(place)


def test_a_worker_host_that_loads_files_anew_finishes_what_it_has(place: Place) -> None:
    before, case_id = {*place.hosts.pids("worker1")}, place.in_a_call("anew", 3)
    place.hosts.processes["worker1"].send_signal(signal.SIGUSR1)
    until(lambda: len({*place.hosts.pids("worker1")} & before) == 1, 60, "the old workers stayed")
    place.hosts.ready(*WORKERS)
    place.once({"anew": case_id})


def test_the_broker_is_gone_for_a_while_and_forgets_what_it_had(place: Place) -> None:
    before = place.send([f"before-{number}" for number in range(20)])
    place.broker.kill()
    since = time.monotonic()
    during = place.send([f"during-{number}" for number in range(20)])
    time.sleep(5)
    assert any(place.case(case_id).state != "completed" for case_id in during.values())
    place.broker.start()
    back = time.monotonic()
    place.once(before | during)
    print(
        f"broker away for {back - since:.1f} s: all completed {time.monotonic() - back:.1f} s after it was back"
    )
    log = place.logs()
    assert f"The broker redis://127.0.0.1:{place.broker.port}/0 does not answer" in log
    assert place.broker.password not in log


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
    (main,) = [pid for pid in pids if sum(parent(one) == pid for one in pids) == 2]
    workers = [pid for pid in pids if parent(pid) == main]
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
