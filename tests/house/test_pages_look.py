"""The pages of cases: they tell the whole story, show any text literally, and only show."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from openclaw_dagster.clock import MINUTE, VirtualClock
from openclaw_dagster.runtime.advance import advance, hold
from openclaw_dagster.runtime.intake import arrival
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.settings import read_settings
from openclaw_dagster.web.host import own_routes

from .paths import ROOT

NOW = 1_790_000_000_000


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    folder: Path = tmp_path_factory.mktemp("pages")
    shutil.copytree(ROOT / "claw_specs", folder / "claw_specs")
    settings = read_settings(
        home=str(folder), specs=str(folder / "claw_specs"), environment="development",
        database=f"sqlite:///{folder / 'ledger.db'}",
    )  # fmt: skip
    shop = Workspace(settings, clock=VirtualClock(NOW))
    yield shop
    shop.close()


@pytest.fixture(scope="module")
def client(shop: Workspace) -> TestClient:
    return TestClient(Starlette(routes=own_routes(shop, lambda: None)))


def moved(shop: Workspace, key: str, rounds: int) -> str:
    """Open the case of an order and move it so many times; return its id."""
    system = shop.system("dispatch")
    payload = {"order": {"id": key, "weight_kg": 1, "note": "<script>alert(1)</script> ${1 + 1} {{ 7 * 7 }}"}}
    (receipt,) = shop.ledger.receive([arrival(system, system.trigger("order_created"), payload, key)])
    assert receipt.case_id
    clock = shop.clock
    assert isinstance(clock, VirtualClock)
    for number in range(rounds):
        clock.advance(MINUTE)
        claim = shop.ledger.claim("dispatch", limit=1, lease=45_000, by="test", only=[receipt.case_id])
        assert claim is not None
        advance(hold(shop, claim.id, run_id=f"0{number}-run", host="test"))
    return receipt.case_id


def test_a_case_tells_its_whole_story(shop: Workspace, client: TestClient) -> None:
    case_id = moved(shop, "A-1003", 2)
    page = client.get(f"/claw/cases/{case_id}")
    assert page.status_code == 200
    for words in (
        "A-1003", "completed in 2 attempts", "northway is the cheapest of 2 within 4 days",
        "carrier.book failed: simulated failure; again at",
        f"{case_id}:book_carrier:1", "emits booking.decision", "/runs/01-run",
        shop.system("dispatch").digest[:12], "by test",
    ):  # fmt: skip
        assert words in page.text, words


def test_what_waits_ahead_is_shown(shop: Workspace, client: TestClient) -> None:
    page = client.get(f"/claw/cases/{moved(shop, 'A-2', 0)}").text
    assert page.count('class="ahead"') == 3
    assert "Nothing decided yet." in page


def test_a_dead_letter_says_how_it_is_redriven(shop: Workspace, client: TestClient) -> None:
    case_id = moved(shop, "A-1004", 4)
    page = client.get(f"/claw/cases/{case_id}").text
    assert f"claw dlq redrive {case_id}" in page
    assert "failed in 4 attempts" in page
    letters = client.get("/claw/dead-letters").text
    assert "A-1004" in letters
    assert "queue://ops.dlq" in letters


def test_payload_text_is_shown_literally(shop: Workspace, client: TestClient) -> None:
    key = "<img src=x onerror=alert(1)>"
    case_id = moved(shop, key, 1)
    for path in (f"/claw/cases/{case_id}", "/claw"):
        page = client.get(path).text
        assert "<img" not in page
        assert "<script" not in page
        assert "&lt;img src=x" in page
    assert "${1 + 1} {{ 7 * 7 }}" in client.get(f"/claw/cases/{case_id}").text


def test_the_overview_counts_and_filters(shop: Workspace, client: TestClient) -> None:
    moved(shop, "A-5", 1)
    assert "A-5" in client.get("/claw?state=completed").text
    assert "A-5" not in client.get("/claw?state=dead_lettered").text
    assert client.get("/claw?state=no_state&system=none").status_code == 200
    assert "No case." in client.get("/claw?system=none").text


def test_a_case_that_is_not_there(client: TestClient) -> None:
    page = client.get("/claw/cases/<b>")
    assert page.status_code == 404
    assert "<b>" not in page.text.split("<main>")[1]


def test_a_version_that_cannot_be_loaded_hides_no_case(
    shop: Workspace, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from openclaw_dagster.runtime.workspace import SpecGone

    def gone(digest: str) -> None:
        raise SpecGone(digest=digest)

    case_id = moved(shop, "A-6", 1)
    monkeypatch.setattr(shop, "version", gone)
    page = client.get(f"/claw/cases/{case_id}")
    assert page.status_code == 200
    assert "cannot be loaded" in page.text
    assert "book_carrier" in page.text


def test_pages_only_show_and_load_nothing_from_elsewhere(client: TestClient) -> None:
    for path in ("/claw", "/claw/dead-letters", "/claw/cases/x"):
        page = client.get(path)
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert client.post(path).status_code == 405
        for forbidden in ("<form", "<script", "style=", "http://", "https://"):
            assert forbidden not in page.text
    assert client.get("/claw/style.css").headers["content-type"].startswith("text/css")
