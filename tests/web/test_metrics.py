"""`/metrics` as Prometheus reads it: what is counted, from where, how often the ledger is asked, and what never appears."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import uvicorn
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from openclaw_dagster.clock import VirtualClock
from openclaw_dagster.runtime.intake import arrival
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.settings import read_settings
from openclaw_dagster.store.entries import Entry, Kind
from openclaw_dagster.store.ledger import with_fence
from openclaw_dagster.web import metrics
from openclaw_dagster.web.host import own_routes
from openclaw_dagster.web.metrics import SETTLED, Metrics

ROOT = Path(__file__).resolve().parents[2]
NOW = 1_780_000_000_000
Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def workspace(database: str, tmp_path: Path) -> Workspace:
    specs = tmp_path / "specs"
    shutil.copytree(ROOT / "claw_specs", specs)
    settings = read_settings(home=str(tmp_path / "home"), specs=str(specs), database=database)
    return Workspace(settings, clock=VirtualClock(NOW))


@pytest.fixture
def shop(database_url: str, tmp_path: Path) -> Iterator[Workspace]:
    found = workspace(database_url, tmp_path)
    yield found
    found.close()


@pytest.fixture
def meter(shop: Workspace) -> Metrics:
    return Metrics(shop, lambda: {"warm": 7, "cold": 2})


def read(meter: Metrics) -> Series:
    """Return every series, as the library's own parser understands it, from an answer that is not a kept one."""
    meter._answer = (0.0, b"")
    found: Series = {}
    for family in text_string_to_metric_families(meter.text().decode()):
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def one(series: Series, name: str, **labels: str) -> float:
    return series[name, tuple(sorted(labels.items()))]


def receive(shop: Workspace, key: str, **more: Any) -> str:
    system = shop.system("dispatch")
    event = arrival(system, system.trigger("order_created"), {"order": {"id": key, **more}}, key)
    (receipt,) = shop.ledger.receive([event])
    assert receipt.case_id
    return receipt.case_id


def clock(shop: Workspace) -> VirtualClock:
    assert isinstance(shop.clock, VirtualClock)
    return shop.clock


def test_events_are_counted_once_each(shop: Workspace, meter: Metrics) -> None:
    labels = {"system": "dispatch", "trigger": "order_created", "source": "webhook"}
    for key in ("A-1", "A-2", "A-2"):
        receive(shop, key)
    assert ("claw_events_accepted_total", tuple(sorted(labels.items()))) not in read(meter)
    clock(shop).advance(SETTLED + 1)
    assert one(read(meter), "claw_events_accepted_total", **labels) == 2
    assert one(read(meter), "claw_events_accepted_total", **labels) == 2
    receive(shop, "A-3")
    clock(shop).advance(SETTLED + 1)
    assert one(read(meter), "claw_events_accepted_total", **labels) == 3


def test_waits_are_those_of_first_starts(shop: Workspace, meter: Metrics) -> None:
    labels = {"system": "dispatch", "critical": "false"}
    receive(shop, "A-1")
    for number, wait in enumerate((300, 60_000)):
        clock(shop).advance(wait)
        claim = shop.ledger.claim("dispatch", limit=1, lease=1000, by="test")
        assert claim
        (case,) = shop.ledger.start(claim.id, run_id=f"run-{number}", lease=1000, host="here")
    clock(shop).advance(SETTLED + 1)
    found = read(meter)
    assert one(found, "claw_dispatch_seconds_count", **labels) == 1
    assert one(found, "claw_dispatch_seconds_sum", **labels) == pytest.approx(0.3)
    assert one(found, "claw_dispatch_seconds_bucket", **labels, le="0.25") == 0
    assert one(found, "claw_dispatch_seconds_bucket", **labels, le="0.5") == 1
    assert one(found, "claw_dispatch_seconds_bucket", **labels, le="120.0") == 1
    assert one(found, "claw_dispatch_seconds_bucket", **labels, le="+Inf") == 1
    assert case.started_at == NOW + 300


def test_states_due_cases_and_dead_letters(shop: Workspace, meter: Metrics) -> None:
    assert one(read(meter), "claw_cases_due") == 0
    assert one(read(meter), "claw_dead_letters", system="dispatch") == 0
    for key in ("A-1", "A-2", "A-3"):
        receive(shop, key)
    assert one(read(meter), "claw_cases_due") == 3
    claim = shop.ledger.claim("dispatch", limit=1, lease=60_000, by="test")
    assert claim
    (case,) = shop.ledger.start(claim.id, run_id="run", lease=60_000, host="here")
    found = read(meter)
    assert one(found, "claw_cases_due") == 2
    assert one(found, "claw_cases", system="dispatch", state="open") == 2
    assert one(found, "claw_cases", system="dispatch", state="running") == 1
    body = {"queue": "q", "stage": "book_carrier", "reason": "no", "attempts": 1, "spec": case.digest}
    shop.ledger.write([with_fence(case, Entry(Kind.DEAD_LETTERED, body))])
    assert one(read(meter), "claw_dead_letters", system="dispatch") == 1


def test_runs_by_launcher_and_a_pool_that_is_down(meter: Metrics) -> None:
    found = read(meter)
    assert one(found, "claw_runs_launched_total", launcher="warm") == 7
    assert one(found, "claw_runs_launched_total", launcher="cold") == 2
    assert one(found, "claw_pool_up") == 0
    assert one(found, "claw_pool_workers", state="idle") == 0
    assert one(found, "claw_ledger_up") == 1
    assert one(found, "process_resident_memory_bytes") > 1e6


def test_names_that_no_file_knows_are_one_series(shop: Workspace, meter: Metrics) -> None:
    system = shop.system("dispatch")
    event = arrival(system, system.trigger("order_created"), {"order": {"id": "A-1"}}, "A-1")
    for number in range(50):
        strange = {
            "system": f"gone_{number}",
            "name": f"strange_{number}",
            "key": str(number),
            "openings": (),
        }
        shop.ledger.receive([type(event)(**{**{n: getattr(event, n) for n in event.__slots__}, **strange})])
    clock(shop).advance(SETTLED + 1)
    found = read(meter)
    assert one(found, "claw_events_accepted_total", system="other", trigger="other", source="webhook") == 50
    assert not [key for key in found if "gone_" in str(key) or "strange_" in str(key)]


def test_nothing_of_a_payload_is_said(shop: Workspace, meter: Metrics) -> None:
    receive(shop, "key-with-a-name", customer="Zebedee", token="sk_live_secret")
    clock(shop).advance(SETTLED + 1)
    text = meter.text().decode()
    assert "claw_events_accepted_total" in text
    for word in ("key-with-a-name", "Zebedee", "sk_live_secret", "case_", "sqlite:", "postgres"):
        assert word not in text


def test_the_ledger_is_asked_once_a_second_whoever_asks(shop: Workspace, meter: Metrics) -> None:
    asked: Counter[str] = Counter()
    shop.ledger.due(["dispatch"])

    @sa.event.listens_for(shop.ledger.database.engine, "before_cursor_execute")
    def count(_c: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        asked["BEGIN" if statement.startswith("BEGIN") else "statement"] += 1

    read(meter)
    once = asked["statement"]
    assert 0 < once <= 8
    threads = [threading.Thread(target=meter.text) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked["statement"] == once
    meter._answer = (time.monotonic() - metrics.FRESH - 0.01, b"old")
    assert meter.text() != b"old"


def test_a_ledger_that_is_away_is_a_series(own_postgres: Any, tmp_path: Path) -> None:
    shop = workspace(own_postgres.fresh(), tmp_path)
    meter = Metrics(shop, dict)
    labels = {"system": "dispatch", "trigger": "order_created", "source": "webhook"}
    receive(shop, "A-1")
    clock(shop).advance(SETTLED + 1)
    own_postgres.stop()
    try:
        found = read(meter)
        assert one(found, "claw_ledger_up") == 0
        assert ("claw_cases_due", ()) not in found
        assert one(found, "claw_runs_launched_total", launcher="cold") == 0
    finally:
        own_postgres.start()
    found = read(meter)
    assert one(found, "claw_ledger_up") == 1
    assert one(found, "claw_events_accepted_total", **labels) == 1  # counted late, not lost
    shop.close()


def test_it_is_served(shop: Workspace) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    app = Starlette(routes=own_routes(shop, lambda: None))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        for method, status in (("GET", 200), ("HEAD", 200), ("POST", 405)):
            line = HTTPConnection("127.0.0.1", listener.getsockname()[1], timeout=30)
            line.request(method, "/metrics", json.dumps({}))
            answer = line.getresponse()
            text = answer.read().decode()
            line.close()
            assert answer.status == status
            if method == "GET":
                assert (answer.getheader("Content-Type") or "").startswith("text/plain; version=")
                assert answer.getheader("Cache-Control") == "no-store"
                assert "claw_pool_up 0.0" in text
    finally:
        server.should_exit = True
        thread.join(10)
