"""`claw send`: a signed event to the real edge, or a manual one into the ledger."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.settings import read_settings
from openclaw_dagster.web.health import Health
from openclaw_dagster.web.inlet import Inlet
from openclaw_dagster.web.webhooks import Webhooks

from .conftest import RETURNS, Claw, Shopkeeper

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr"


def _serve(shop: Workspace) -> Iterator[str]:
    routes = [
        Route("/hooks/{system}/{trigger}", Webhooks(shop, Inlet(shop.ledger)).__call__, methods=["POST"]),
        Route("/readyz", Health(shop).ready),
    ]
    door = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [door]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{door.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def host(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Give the address of the product's own webhook edge, made the default."""
    shop = Workspace(read_settings())
    for url in _serve(shop):
        monkeypatch.setenv("CLAW_PUBLIC_URL", url)
        yield url
    shop.close()


def test_a_sample_is_accepted(claw: Claw, host: str, keeper: Shopkeeper) -> None:
    done = claw("send", "dispatch")
    assert done.code == 0
    assert done.out.startswith("202 accepted  case_")
    assert "(unsigned: the trigger has no secret here)" in done.out
    (case,) = keeper.shop.ledger.find()
    assert case.key.startswith("S-")


def test_what_is_set_is_sent(claw: Claw, host: str, keeper: Shopkeeper) -> None:
    words = ("--set", "order.id=A-1", "--set", "order.weight_kg=3.5", "--set", "order.tags=[1]", "--json")
    said = claw("send", "dispatch", "order_created", *words).json
    assert said["payload"] == {"order": {"id": "A-1", "weight_kg": 3.5, "tags": [1]}}
    again = claw("send", "dispatch", "order_created", *words[:-1])
    assert f"{said['case']}  (known already: the first one's case)" in again.out
    other = claw("send", "dispatch", "--set", "order.id=A-1")
    assert other.code == 1
    assert "409" in other.out
    assert "came before with another payload" in other.out


def test_file_and_standard_input(claw: Claw, host: str, project: Path) -> None:
    (project / "order.json").write_text('{"order": {"id": "F-1"}}')
    assert claw("send", "dispatch", "--file", "order.json").code == 0
    done = claw("send", "dispatch", "--file", "-", "--json", stdin='{"order": {"id": "F-2"}}')
    assert done.json["payload"] == {"order": {"id": "F-2"}}


def test_times_sends_different_orders(claw: Claw, host: str, keeper: Shopkeeper) -> None:
    assert claw("send", "dispatch", "--times", 3).code == 0
    assert claw("send", "dispatch", "--times", 3, "--set", "order.id=A").code == 0
    keys = {case.key for case in keeper.shop.ledger.find()}
    assert len(keys) == 6
    assert {"A", "A-2", "A-3"} <= keys
    assert claw("send", "dispatch", "--times", 6).out.endswith("6 of 6 taken\n")


def test_it_is_signed(claw: Claw, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPATCH_ORDER_CREATED_SECRET", SECRET)
    said = claw("send", "dispatch", "--json")
    assert said.code == 0
    assert said.json["signed"] is True


def test_a_refusal_says_the_servers_reason(claw: Claw, host: str) -> None:
    done = claw("send", "dispatch", "--data", '{"order": {"id": ""}}')
    assert done.code == 1
    assert done.out.startswith("422 refused  ")
    assert "order.id is blank" in done.out


def test_no_host(claw: Claw) -> None:
    done = claw("send", "dispatch", "--url", "http://127.0.0.1:9")
    assert done.code == 1
    assert "CLAW705" in done.err
    assert "claw dev" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ("nope",),
        ("dispatch", "nope"),
        ("dispatch", "--data", "{"),
        ("dispatch", "--data", "[]"),
        ("dispatch", "--set", "x"),
        ("dispatch", "--file", "nope.json"),
        ("dispatch", "--data", "{}", "--file", "x"),
        ("returns", "nightly"),
    ],
)
def test_arguments_that_are_wrong(claw: Claw, project: Path, words: tuple[str, ...]) -> None:
    (project / "claw_specs" / "returns.claw").write_text(RETURNS)
    assert claw("send", *words).code == 2


def test_wait_says_how_it_ended(claw: Claw, host: str, keeper: Shopkeeper) -> None:
    def work() -> None:
        for key in ("W-1", "A-1004"):
            while not (found := keeper.shop.ledger.find(key=key)):
                time.sleep(0.02)
            keeper.move(found[0].id, 1 if key == "W-1" else 4)

    worker = threading.Thread(target=work)
    worker.start()
    good = claw("send", "dispatch", "--set", "order.id=W-1", "--wait")
    bad = claw("send", "dispatch", "--set", "order.id=A-1004", "--wait", "--json")
    worker.join(30)
    assert good.code == 0
    assert "  completed after " in good.out
    assert (bad.code, bad.json["state"]) == (1, "dead_lettered")
    late = claw("send", "dispatch", "--wait", "--patience", 0)
    assert late.code == 1
    assert "still open after 0 s" in late.out


class TestManual:
    @pytest.fixture(autouse=True)
    def _returns(self, project: Path) -> None:
        (project / "claw_specs" / "returns.claw").write_text(RETURNS)

    def test_it_goes_straight_to_the_ledger(self, claw: Claw) -> None:
        done = claw("send", "returns", "--set", "order.id=R-1")
        assert done.code == 0
        assert done.out.startswith("in the ledger  case_")
        (case,) = claw("case", "list", "--system", "returns", "--json").json
        assert (case["trigger"], case["key"], case["state"]) == ("asked", "R-1", "open")

    def test_a_schema_is_kept_to(self, claw: Claw, project: Path) -> None:
        specs = project / "claw_specs"
        (specs / "asked.json").write_text(
            json.dumps(
                {
                    "type": "object",
                    "required": ["order"],
                    "properties": {
                        "order": {"$ref": "#/$defs/order"},
                        "reason": {"enum": ["lost", "late"]},
                        "at": {"type": "string", "format": "date"},
                    },
                    "$defs": {
                        "order": {"type": "object", "properties": {"id": {"type": "integer", "minimum": 5}}}
                    },
                }
            )
        )
        file = specs / "returns.claw"
        file.write_text(file.read_text().replace("source: manual,", "source: manual, schema: ./asked.json,"))
        said = claw("send", "returns", "--json")
        assert said.code == 0, said.err
        assert said.json["payload"]["reason"] == "lost"
        assert isinstance(said.json["payload"]["order"]["id"], int)
        refused = claw("send", "returns", "--set", "reason=stolen")
        assert refused.code == 1
        assert "CLAW706" in refused.err
