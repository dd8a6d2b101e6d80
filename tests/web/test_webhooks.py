"""The webhook edge over a real socket: what is taken, what is refused and how, on both databases."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import pytest
import uvicorn
from services.postgres import Postgres
from services.sample import copy_sample
from starlette.applications import Starlette

from openclaw_dagster.clock import VirtualClock
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.settings import read_settings
from openclaw_dagster.web import signatures
from openclaw_dagster.web.host import own_routes
from openclaw_dagster.web.limits import Rate, RateLimit

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OLDER = "whsec_" + "b2xkZXIgc2VjcmV0IG9mIHRoaXMgdHJpZ2dlcg=="
ROOT = Path(__file__).resolve().parents[2]
EXTRA = """\
system: other
version: "1"
triggers:
  - picked: {source: webhook, when: order.value > 10, idempotency: order.id, schema: ./schemas/order.json}
  - plain: {source: webhook, verify: {scheme: github, secret: OTHER_PLAIN_SECRET}}
decisions:
  - go: {on: [picked, plain], inputs: [sla_policy], table: [{else: true, then: yes_please}], emits: gone}
execution:
  - act: {on: gone, action: carrier.rates, with: {order: "1"}}
data: {events: {store: event-log}}
observability: {slo: {error_rate: "<1%"}}
"""


class Door:
    """The edge, served on a port of its own."""

    def __init__(self, shop: Workspace) -> None:
        self.shop = shop
        app = Starlette(routes=own_routes(shop, lambda: None))
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def post(
        self,
        body: bytes,
        headers: dict[str, str] | None = None,
        *,
        path: str = "/hooks/dispatch/order_created",
        method: str = "POST",
    ) -> tuple[int, dict[str, object], dict[str, str]]:
        line = HTTPConnection("127.0.0.1", self.port, timeout=30)
        line.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
        answer = line.getresponse()
        said = answer.read()
        line.close()
        told = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, json.loads(said) if said.startswith(b"{") else {}, told

    def signed(
        self, payload: object, secret: str = SECRET, **more: str
    ) -> tuple[int, dict[str, object], dict[str, str]]:
        body = json.dumps(payload).encode()
        return self.post(
            body, signatures.sign("standard-webhooks", secret, body, self.shop.clock.now(), "msg_1"), **more
        )

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)
        self.shop.close()


@pytest.fixture
def door(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    specs = tmp_path / "specs"
    copy_sample(specs)
    (specs / "other.claw").write_text(EXTRA)
    (specs / "schemas").mkdir()
    (specs / "schemas" / "order.json").write_text(
        json.dumps(
            {"type": "object", "properties": {"order": {"type": "object", "required": ["id", "value"]}}}
        )
    )
    monkeypatch.setenv("DISPATCH_ORDER_CREATED_SECRET", f"{SECRET} {OLDER}")
    monkeypatch.setenv("OTHER_PLAIN_SECRET", "a secret of sixteen letters")
    settings = read_settings(home=str(tmp_path / "home"), specs=str(specs), database=database_url)
    found = Door(Workspace(settings))
    yield found
    found.close()


def test_an_order_is_taken_once(door: Door) -> None:
    status, said, _ = door.signed({"order": {"id": "A-1"}})
    assert status == 202
    assert said["duplicate"] is False
    again = door.signed({"order": {"id": "A-1"}})
    assert again[0] == 202
    assert again[1]["case"] == said["case"]
    assert again[1]["duplicate"] is True
    (case,) = door.shop.ledger.find(system="dispatch")
    assert case.id == said["case"]
    assert str(said["url"]).endswith(f"/claw/cases/{case.id}")


def test_fifty_posts_at_once_are_one_case(door: Door) -> None:
    with ThreadPoolExecutor(25) as pool:
        answers = list(pool.map(lambda _: door.signed({"order": {"id": "A-2"}}), range(50)))
    assert {status for status, _, _ in answers} == {202}
    assert len({str(said["case"]) for _, said, _ in answers}) == 1
    assert sum(not said["duplicate"] for _, said, _ in answers) == 1


def test_a_key_that_comes_back_with_another_payload_is_a_conflict(door: Door) -> None:
    first = door.signed({"order": {"id": "A-3", "value": 1}})[1]
    status, said, _ = door.signed({"order": {"id": "A-3", "value": 2}})
    assert status == 409
    assert said["case"] == first["case"]
    assert "another payload" in str(said["error"])
    assert len(door.shop.ledger.find(system="dispatch")) == 1


def test_the_older_of_two_live_secrets_still_opens(door: Door) -> None:
    assert door.signed({"order": {"id": "A-4"}}, OLDER)[0] == 202


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"webhook-id": "msg_1", "webhook-timestamp": "x", "webhook-signature": "v1,AAAA"},
        {"webhook-id": "", "webhook-timestamp": "", "webhook-signature": ""},
    ],
    ids=["none", "malformed", "empty"],
)
def test_what_is_not_signed_is_refused(door: Door, headers: dict[str, str]) -> None:
    status, said, _ = door.post(b'{"order": {"id": "A-5"}}', headers)
    assert status == 401
    assert SECRET not in json.dumps(said)
    assert door.shop.ledger.find() == []


def test_the_signature_of_another_secret_is_refused(door: Door) -> None:
    assert door.signed({"order": {"id": "A-5"}}, "whsec_" + "c29tZWJvZHkgZWxzZSdzIHNlY3JldCBoZXJl")[0] == 401


def test_a_signature_over_other_bytes_is_refused(door: Door) -> None:
    headers = signatures.sign(
        "standard-webhooks", SECRET, b'{"order":{"id":"A-6"}}', door.shop.clock.now(), "msg_1"
    )
    assert door.post(b'{"order": {"id": "A-6"}}', headers)[0] == 401


def test_an_old_signature_is_refused(door: Door) -> None:
    body = b'{"order": {"id": "A-7"}}'
    headers = signatures.sign("standard-webhooks", SECRET, body, door.shop.clock.now() - 600_000, "msg_1")
    assert door.post(body, headers)[0] == 401


def test_unsigned_calls_are_taken_only_where_there_is_no_secret_in_development(door: Door) -> None:
    body = b'{"order": {"id": "A-8", "value": 50}}'
    assert door.post(body, path="/hooks/other/picked")[0] == 202
    assert door.post(body, path="/hooks/other/plain")[0] == 401


@pytest.mark.parametrize(
    "path",
    [
        "/hooks/dispatch/nothing",
        "/hooks/nothing/order_created",
        "/hooks/dispatch",
        "/hooks/a/b/c",
        "/hooks/%00/x",
    ],
)
def test_an_address_that_is_no_webhook_is_not_found(door: Door, path: str) -> None:
    assert door.post(b"{}", path=path)[0] == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_only_posts_are_taken(door: Door, method: str) -> None:
    status, _, headers = door.post(b"", method=method)
    assert status == 405
    assert headers["allow"] == "POST"


def test_a_body_that_is_too_large_is_refused_before_it_is_read(door: Door) -> None:
    status, said, _ = door.post(b'{"order": "' + b"x" * (257 * 1024) + b'"}')
    assert status == 413
    assert "256 KiB" in str(said["error"])


@pytest.mark.parametrize(
    ("payload", "path", "status"),
    [
        (b"{", "/hooks/other/picked", 400),
        (b'{"order": {"id": "1", "id": "2", "value": 20}}', "/hooks/other/picked", 400),
        (b'{"order": {"id": "1", "value": NaN}}', "/hooks/other/picked", 400),
        (b'{"order": {"id": "1", "value": 1e400}}', "/hooks/other/picked", 400),
        (b'{"order": {"id": "\\ud800", "value": 20}}', "/hooks/other/picked", 400),
        (b'{"order": {"id": "a\\u0000b", "value": 20}}', "/hooks/other/picked", 400),
        (b"[" * 100_000, "/hooks/other/picked", 400),
        (b'{"order": {"id": "1"}}', "/hooks/other/picked", 422),
        (b'{"order": {"id": null, "value": 20}}', "/hooks/other/picked", 422),
        (b'{"order": {"id": {}, "value": 20}}', "/hooks/other/picked", 422),
        (b'{"order": {"id": "", "value": 20}}', "/hooks/other/picked", 422),
        (b'{"order": {"id": "1", "value": "dear"}}', "/hooks/other/picked", 422),
        (b"[]", "/hooks/other/picked", 422),
    ],
)
def test_a_bad_body_is_refused_with_its_reason(door: Door, payload: bytes, path: str, status: int) -> None:
    answered, said, _ = door.post(payload, path=path)
    assert answered == status
    assert said["error"]
    assert door.shop.ledger.find() == []


def test_other_content_is_refused(door: Door) -> None:
    body = b'{"order": {"id": "1", "value": 20}}'
    assert door.post(body, {"Content-Type": "text/plain"}, path="/hooks/other/picked")[0] == 415
    assert door.post(body, {"Content-Encoding": "gzip"}, path="/hooks/other/picked")[0] == 415


def test_an_event_whose_condition_is_false_is_logged_and_opens_no_case(door: Door) -> None:
    status, said, _ = door.post(b'{"order": {"id": "1", "value": 5}}', path="/hooks/other/picked")
    assert status == 202
    assert said["case"] is None
    assert "is false" in str(said["ignored"])
    assert door.shop.ledger.find() == []
    assert door.shop.ledger.events([str(said["event"])])


def test_one_and_its_text_are_one_key(door: Door) -> None:
    first = door.post(b'{"order": {"id": "1", "value": 50}}', path="/hooks/other/picked")[1]
    status, said, _ = door.post(b'{"order": {"id": 1, "value": 50}}', path="/hooks/other/picked")
    assert (status, said["case"]) == (409, first["case"])


def test_a_flood_slows_the_flooder_only(door: Door) -> None:
    hooks = next(
        route for route in door.server.config.app.routes if route.path == "/hooks/{system}/{trigger}"
    )
    hooks.endpoint.__self__.limit = RateLimit(VirtualClock(0), Rate(burst=1, refill=3_000))
    assert door.signed({"order": {"id": "A-9"}})[0] == 202
    status, _, headers = door.signed({"order": {"id": "A-9"}})
    assert status == 429
    assert headers["retry-after"] == "3"
    assert door.post(b'{"order": {"id": "A-9", "value": 50}}', path="/hooks/other/picked")[0] == 202


def test_health(door: Door) -> None:
    assert door.post(b"", method="GET", path="/healthz")[0] == 200
    status, said, _ = door.post(b"", method="GET", path="/readyz")
    assert (status, said["status"], said["systems"]) == (200, "ok", ["dispatch", "other"])


def test_a_host_that_cannot_write_is_not_ready(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """All can be read on a full disk, and no event is taken."""
    usage = shutil.disk_usage("/")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=40_000))
    status, said, headers = door.post(b"", method="GET", path="/readyz")
    if door.shop.ledger.database.dialect == "sqlite":
        assert (status, headers.get("retry-after")) == (503, "5")
        assert "its disk is full: 39 KiB are free" in said["problems"][0]
    else:
        assert status == 200


def test_a_ledger_that_is_away_is_503_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPATCH_ORDER_CREATED_SECRET", SECRET)
    own = Postgres()
    settings = read_settings(home=str(tmp_path), specs=str(ROOT / "claw_specs"), database=own.fresh())
    door = Door(Workspace(settings))
    try:
        assert door.signed({"order": {"id": "A-1"}})[0] == 202
        own.stop()
        status, said, headers = door.signed({"order": {"id": "A-2"}})
        assert (status, headers.get("retry-after")) == (503, "5"), said
        assert "send it again" in str(said["error"])
        assert door.post(b"", method="GET", path="/readyz")[0] == 503
        assert door.post(b"", method="GET", path="/healthz")[0] == 200
        own.start()
        assert door.signed({"order": {"id": "A-2"}})[0] == 202
        assert {case.key for case in door.shop.ledger.find()} == {"A-1", "A-2"}
    finally:
        door.close()
        own.remove()


def test_payload_text_is_data_on_pages(door: Door) -> None:
    nasty = "<script>alert(1)</script>{{7*7}}\u202e"
    said = door.signed({"order": {"id": nasty}})[1]
    for path in ("/claw", f"/claw/cases/{said['case']}"):
        line = HTTPConnection("127.0.0.1", door.port, timeout=30)
        line.request("GET", path)
        answer = line.getresponse()
        text = answer.read().decode()
        line.close()
        assert answer.status == 200
        assert "<script>alert" not in text
        assert "&lt;script&gt;" in text
        assert "{{7*7}}" in text
        assert "default-src 'none'" in str(answer.getheader("Content-Security-Policy"))
