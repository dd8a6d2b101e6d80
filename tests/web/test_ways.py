"""A refund waits for two people: whatever else is tried, it is not paid, and what was tried is on record."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlencode

import pytest

from openclaw_dagster.store import audit

from . import answer_ways, dagster_ways
from .hosted import Answer, Hosted
from .ways import World, add_more, edit

pytestmark = [pytest.mark.xdist_group("web_ways"), pytest.mark.timeout(300)]

WAYS = {**dagster_ways.WAYS, **answer_ways.WAYS}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Give a host with two refunds and a booking that wait, and a session of somebody who has left since."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WAYS_SLACK_TOKEN", "xoxb-not-a-real-token-1")
        patch.setenv("WAYS_SLACK_SIGNING", answer_ways.SIGNING)
        host = Hosted(tmp_path_factory.mktemp("ways"), patch, None, queued=False)
        edit(host, add_more)
        edit(host, answer_ways.add_slack)
        host.restart()
        made = World(host)
        try:
            made.open("S-1")
            made.open("S-2", "lost_reported_by_lead")
            made.open("S-3", "carrier_down")
            made["gone_1"].get("/claw")
            made.tokens["gone_1"] = made.token("gone_1", "approver")
            edit(host, remove_gone)
            host.restart()
            yield made
        finally:
            host.close()


def remove_gone(environment: dict[str, dict[str, dict[str, list[str]]]]) -> None:
    del environment["people"]["gone_1"]
    environment["roles"]["finance"]["people"].remove("gone_1")
    environment["access"]["viewer"]["people"].remove("gone_1")


def waits(world: World) -> None:
    """Check that nothing was paid, and that each case waits for as many people as before."""
    assert [world.refunds(name) for name in world.cases] == [0, 0, 0]
    assert [world.case(name).state for name in world.cases] == ["awaiting_human"] * 3
    gate = world.case("S-1").facts.gates["refund"]
    assert (gate.state, gate.request, gate.answers) == ("asked", 1, ())
    assert world.case("S-2").facts.gates["refund"].missing > 0


def grown(world: World, before: int) -> int:
    """Return how many refusals there are more than before, once there is one: a click is judged after its answer."""
    end = time.monotonic() + 10
    while (now := sum(world.refusals())) == before and time.monotonic() < end:
        time.sleep(0.05)
    return now - before


@pytest.mark.parametrize("name", WAYS)
def test_no_way_leads_around_the_checkpoint(world: World, name: str) -> None:
    """Nothing is paid, the case waits as before, and one line in a journal or the event log says what was tried."""
    before = sum(world.refusals())
    WAYS[name](world)
    assert grown(world, before) == 1
    waits(world)


def test_there_are_ways_enough() -> None:
    assert len(dagster_ways.WAYS) + len(answer_ways.WAYS) == len(WAYS) >= 40


#: Reads that a careless host would take for an answer.
READS: dict[str, Callable[[World, str], Answer]] = {
    "a link with the answer in it": lambda w, said: w["fin_1"].get(f"{w.page()}/answer?{said}"),
    "a link to the page": lambda w, said: w["fin_1"].get(f"{w.page()}?recorded&{said}"),
    "a link to leave it out": lambda w, said: w["lead_1"].get(f"{w.page()}/skip?reason=late"),
    "only the head of it": lambda w, said: w["fin_1"].send("HEAD", f"{w.page()}/answer?{said}"),
    "what may be asked": lambda w, said: w["fin_1"].send("OPTIONS", f"{w.page()}/answer?{said}"),
    "a link with a token": lambda w, said: w.host.browser().get(
        f"{w.page()}/answer?{said}", **w.token("fin_1", "approver")
    ),
}


@pytest.mark.parametrize("name", READS)
def test_looking_decides_nothing(world: World, name: str) -> None:
    before = world.refusals()
    answer = READS[name](world, urlencode(world.fields("fin_1")))
    assert answer.status < 500
    assert "frame-ancestors 'none'" in answer.header("content-security-policy")
    assert world.refusals() == before
    waits(world)


def test_the_same_order_again_that_says_it_is_approved_is_not_taken(world: World) -> None:
    order = {
        "id": "S-1",
        "customer": "C-21",
        "value": 1,
        "cause": "address",
        "carrier_down": False,
        "approved": True,
    }
    sent = world.host.browser().send(
        "POST", "/hooks/stalled_orders/order_stalled", json.dumps({"order": order}).encode(),
        {"Content-Type": "application/json"},
    )  # fmt: skip
    assert sent.status in (409, 422), sent.text
    waits(world)


def test_two_people_approve_and_it_is_paid_once_and_their_forms_are_used_up(world: World) -> None:
    """The gate is not merely shut."""
    assert world.say("fin_1").status == 303
    assert world.refunds() == 0
    used = world.fields("fin_2")
    assert world.say("fin_2").status == 303
    assert world.until("S-1", "completed").facts.steps["refund"].state == "completed"
    path, body = f"{world.page()}/answer", urlencode(used).encode()
    assert world["fin_2"].post(path, body, **{"Content-Type": answer_ways.FORM}).status == 403
    world.repeat(strategy="ALL_STEPS")
    world.launch(selector=dagster_ways.REFUND)
    assert world.refunds() == 1
    assert audit.verify(world.host.shop.ledger.database).faults == ()
