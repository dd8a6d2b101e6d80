"""An order on its good way: from the signed webhook to one booking, seen from every side."""

from __future__ import annotations

import pytest

from openclaw_dagster.web.signatures import sign

from .carrier import Carrier
from .stack import SECRET, Stack

pytestmark = pytest.mark.xdist_group("e2e_orders")


@pytest.fixture(scope="module")
def booked(stack: Stack, carrier: Carrier) -> str:
    """Give the case of an order that went its good way."""
    status, said = stack.post("dispatch", f"good-{stack.port}")
    assert status == 202
    assert not said["duplicate"]
    stack.ended(said["case"], "completed")
    return str(said["case"])


def test_the_server_saw_one_post_with_an_idempotency_key(stack: Stack, carrier: Carrier, booked: str) -> None:
    case = stack.case(booked)
    (post,) = carrier.posts(case.key)
    assert post["key"] == case.facts.steps["book_carrier"].key
    assert post["body"]["order"]["id"] == case.key
    assert post["body"]["carrier_selection"]["carrier"] == "northway"
    print(f"event → completed {(case.closed_at or 0) - case.created_at} ms")


def test_its_run_is_found_by_its_tags(stack: Stack, booked: str) -> None:
    def over() -> list[dict]:
        return [run for run in stack.runs(booked) if run["status"] not in ("STARTED", "STARTING", "QUEUED")]

    (run,) = stack.until(over, 20, "the run did not end")
    assert run["status"] == "SUCCESS"
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    case = stack.case(booked)
    assert tags["claw/system"] == "dispatch"
    assert tags["claw/case"] == booked
    assert tags["claw/trigger"] == "order_created"
    assert case.digest.startswith(tags["claw/spec"])


def test_every_op_links_to_the_page_of_the_case(stack: Stack, booked: str) -> None:
    events = [
        event
        for run in stack.runs(booked)
        for event in run["eventConnection"]["events"]
        if event.get("stepKey")
    ]
    assert {event["stepKey"] for event in events} == {"carrier_selection", "book_carrier", "close"}
    links = {entry["url"] for event in events for entry in event["metadataEntries"] if "url" in entry}
    assert links == {f"{stack.url}/claw/cases/{booked}"}
    status, page = stack.get(f"/claw/cases/{booked}")
    assert status == 200
    assert "northway is the cheapest of 2 within 4 days" in page


def test_claw_case_show_tells_all_of_it(stack: Stack, booked: str) -> None:
    shown = stack.claw("case", "show", booked)
    assert shown.returncode == 0, shown.stderr
    case = stack.case(booked)
    decision = case.facts.decisions["carrier_selection"]
    words = " ".join(shown.stdout.split())
    for word in (
        "order_created", case.key, "carrier_selection", "northway is the cheapest of 2", decision.policy[:12],
        "book_carrier", "carrier.book", "completed", case.digest[:12],
    ):  # fmt: skip
        assert word in words, f"{word} is missing in\n{shown.stdout}"
    assert words.count(":") > 5, shown.stdout  # times of day


def test_the_same_order_again_is_the_same_case(stack: Stack, carrier: Carrier, booked: str) -> None:
    case = stack.case(booked)
    status, said = stack.post("dispatch", case.key)
    assert (status, said["case"], said["duplicate"]) == (202, booked, True)
    assert len(carrier.posts(case.key)) == 1


def test_fifty_at_once_are_one_case_and_one_call(stack: Stack, carrier: Carrier) -> None:
    order = f"crowd-{stack.port}"
    answers = stack.send_at_once("dispatch", order, 50)
    assert {status for status, _ in answers} == {202}
    (case_id,) = {said["case"] for _, said in answers}
    assert sum(not said["duplicate"] for _, said in answers) == 1
    stack.ended(case_id, "completed")
    assert len(carrier.posts(order)) == 1


@pytest.mark.parametrize("wrong", ["none", "another secret", "another body"])
def test_an_unsigned_order_is_refused(stack: Stack, carrier: Carrier, wrong: str) -> None:
    order = f"forged-{stack.port}"
    other = "whsec_" + "bm90LXRoZS1zZWNyZXQtb2YtdGhlLXRyaWdnZXItYXQtYWxs"
    now = stack.ledger.clock.now()
    headers = {
        "none": {},
        "another secret": sign("standard-webhooks", other, b'{"order": {"id": "forged"}}', now, "msg_1"),
        "another body": sign("standard-webhooks", SECRET, b"{}", now, "msg_2"),
    }[wrong]
    status, said = stack.post("dispatch", order, headers=headers)
    assert status == 401
    assert "error" in said
    assert stack.ledger.find(key=order) == []
    assert carrier.posts(order) == []
