"""Spans leave by themselves when an OTLP endpoint is named, and nothing leaves when none is."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

ROOT = Path(__file__).resolve().parents[2]
TRACE = "0af7651916cd43dd8448eb211c80319c"
CASE = f"""\
import logging, sys
from openclaw_dagster.runtime.advance import advance, hold
from openclaw_dagster.runtime.intake import arrival
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.settings import read_settings
from openclaw_dagster.telemetry import exporting

shop = Workspace(read_settings(home=sys.argv[1], specs=sys.argv[2]))
system = shop.system("dispatch")
payload = {{"order": {{"id": "A-1", "customer": "secret person"}}}}
event = arrival(system, system.trigger("order_created"), payload, "A-1", traceparent="00-{TRACE}-b7ad6b7169203331-01")
shop.ledger.receive([event])
claim = shop.ledger.claim("dispatch", limit=1, lease=45_000, by="test")
advance(hold(shop, claim.id, run_id="run", host="here"))
print(exporting(), shop.ledger.find()[0].state)
"""


class Collector(HTTPServer):
    """Takes what an exporter sends."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[bytes] = []


class Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


def run(tmp_path: Path, **variables: str) -> str:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "CLAW_"))
    }
    command = [sys.executable, "-c", CASE, str(tmp_path), str(ROOT / "claw_specs")]
    done = subprocess.run(
        command, env={**environment, **variables}, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def test_a_case_is_traced_without_a_line_of_code(tmp_path: Path, collector: Collector) -> None:
    url = f"http://127.0.0.1:{collector.server_port}"
    assert run(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=url) == "True completed"
    spans = [
        span
        for body in collector.bodies
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    found = {span.name: span for span in spans}
    assert {"claw.decision", "claw.step"} <= set(found)
    assert {span.trace_id.hex() for span in spans} == {TRACE}  # one trace from the sender's call on
    said = {one.key: one.value.string_value for one in found["claw.step"].attributes}
    assert said["claw.node"] == "book_carrier"
    assert said["claw.case"].startswith("case_")
    assert b"secret person" not in b"".join(collector.bodies)


def test_nothing_is_sent_anywhere_by_default(tmp_path: Path, collector: Collector) -> None:
    assert run(tmp_path) == "False completed"
    assert collector.bodies == []


def test_a_collector_that_is_down_does_not_touch_the_case(tmp_path: Path) -> None:
    down = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    assert run(tmp_path, **down) == "True completed"
