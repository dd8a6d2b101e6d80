"""A recall on a whole host: its lots are cases of their own, and pages and runs lead from one to the other."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from openclaw_dagster.store import audit
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.entries import Kind

from .hosted import SPECS, Browser, Hosted
from .ways import FORM

pytestmark = [pytest.mark.xdist_group("web_runbooks"), pytest.mark.timeout(300)]

OUTPUTS = """query($tags: [ExecutionTag!]!) { runsOrError(filter: {tags: $tags}) { ... on Runs { results {
  status tags { key value } eventConnection(limit: 1000) { events { ... on ExecutionStepOutputEvent {
    stepKey outputName metadataEntries { label ... on UrlMetadataEntry { url } } } } } } } } }"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    with pytest.MonkeyPatch.context() as patch:
        host = Hosted(tmp_path_factory.mktemp("runbooks"), patch, None)
        yield host
        host.close()


def until(host: Hosted, case_id: str, state: str) -> Case:
    end = time.monotonic() + 90
    while True:
        case = host.shop.ledger.case(case_id)
        if case is not None and case.state == state:
            return case
        assert time.monotonic() < end, case
        time.sleep(0.2)


def lot_of(host: Hosted, recall: str) -> Case:
    found = host.shop.ledger.case(recall)
    assert found is not None
    (lot,) = host.shop.ledger.begun_by(found)["handle_lots"]
    return lot


def acknowledge(browser: Browser, lot: Case) -> None:
    fields = {"digest": lot.facts.gates["fence_off"].digest, "verdict": "acknowledge", "reason": "fenced"}
    page = f"/claw/checkpoints/{lot.id}/fence_off"
    form = browser.get("/claw/login").text.split('name="form" value="')[1].split('"')[0]
    said = browser.post(
        f"{page}/answer", urlencode({"form": form, **fields}).encode(), **{"Content-Type": FORM}
    )
    assert said.status == 303, said.text


def test_a_recall_goes_through_its_lots(host: Hosted) -> None:
    payload = json.loads((SPECS / "fixtures" / "recalls" / "quality.json").read_text())
    sent = host.browser().send(
        "POST",
        "/hooks/recall/recall_announced",
        json.dumps(payload).encode(),
        {"Content-Type": "application/json"},
    )
    assert sent.status == 202, sent.text
    recall = str(sent.json["case"])
    until(host, recall, "waiting_retry")
    lot = until(host, lot_of(host, recall).id, "awaiting_human")
    assert lot.key.startswith("RC-8/handle_lots/1#")

    desk = host.browser().log_in("stock_agent_1")
    above, below = desk.get(f"/claw/cases/{recall}").text, desk.get(f"/claw/cases/{lot.id}").text
    assert f'href="/claw/cases/{lot.id}"' in above
    assert "handle_lots waits for 1 of its 1 cases" in above
    assert f'href="/claw/cases/{recall}">step handle_lots, item 1</a>' in below
    assert "fence_off</b> of RC-8/handle_lots/1" in desk.get("/claw/inbox").text
    (run,) = desk.graphql(OUTPUTS, {"tags": [{"key": "claw/case", "value": recall}]}).json["data"][
        "runsOrError"
    ]["results"]
    assert run["status"] == "SUCCESS"
    assert {"key": "claw/waiting", "value": "handle_lots"} in run["tags"]
    (waits,) = (one for one in run["eventConnection"]["events"] if one.get("outputName") == "waiting")
    assert [one["url"] for one in waits["metadataEntries"] if "url" in one] == [
        f"{host.url}/claw/cases/{recall}"
    ]

    acknowledge(desk, lot)
    until(host, lot.id, "completed")
    ended = until(host, recall, "completed")
    assert audit.verify(host.shop.ledger.database).faults == ()
    (closed,) = (one for one in host.shop.ledger.journal(recall) if one.kind is Kind.CLOSED)
    assert (closed.body or {})["cases"] == {"handle_lots": [lot.id]}
    assert ended.facts.steps["handle_lots"].result[0]["steps"]["fence_off"]["status"] == "held"
