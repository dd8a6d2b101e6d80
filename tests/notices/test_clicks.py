"""People answer in Slack: through the one function that judges, and nobody answers for somebody else."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from runtime.kit import bodies, case, kinds, outside, pump

from openclaw_dagster.runtime.operations import cancel
from openclaw_dagster.store import tables as t
from openclaw_dagster.store.entries import Kind

from .clicks import Hand, served, soon
from .conftest import Open
from .test_slack import say
from .workspace import DENY, Office, Slack, buttons, words

#: The same system without a form: a yes needs one press.
PLAIN = DENY.replace("        form: {reason: {choose: [lost, damaged, late]}}\n", "")
ACKNOWLEDGE = (
    PLAIN.replace("approval: [finance, ops_lead]", "acknowledge: [finance, ops_lead]")
    .replace("        quorum: 2\n", "")
    .replace("      effect: irreversible\n", "")
    .replace("action: erp.refund", "action: depot.pack")
)


@pytest.fixture
def hand(offices: Open, database_url: str, slack: Slack) -> Iterator[Hand]:
    office = offices(database_url, slack, PLAIN)
    with served(office, slack) as made:
        yield made


@pytest.fixture
def asked(hand: Hand) -> tuple[str, dict[str, Any]]:
    """Give a waiting case with its message."""
    one = hand.office.refund()
    hand.office.tell()
    (message,) = hand.slack.messages("finance")
    return one, message


def refunds(office: Office) -> int:
    return len(outside(office.shop, "erp", "refund"))


def gate(hand: Hand, one: str) -> Any:
    return case(hand.office.shop, one).facts.gates["refund"]


def test_two_people_press_approve_and_it_runs_once(hand: Hand, asked: tuple[str, dict[str, Any]]) -> None:
    one, message = asked
    assert hand.press("fin_1", "approve", message) == 200
    soon(lambda: gate(hand, one).answers)
    assert hand.press("lead_1", "approve", message, channel="leads") == 200
    soon(lambda: gate(hand, one).state == "cleared")
    soon(lambda: hand.office.woken == 2)
    pump(hand.office.shop)
    assert (case(hand.office.shop, one).state, refunds(hand.office)) == ("completed", 1)
    hand.office.tell()
    (after,) = hand.slack.messages("finance")
    assert not buttons(after)
    assert "Approved by fin_1 and lead_1." in words(after["blocks"])
    assert [said["channel"] for said in bodies(hand.office.shop, one, Kind.CLEARANCE)] == ["slack", "slack"]
    assert hand.whispers() == []


@pytest.mark.parametrize(
    ("person", "why"),
    [
        ("stranger", "is not one of the people of this environment"),
        ("fin_2", "fin_2 asked for it, and nobody clears what they asked for themselves"),
    ],
)
def test_the_wrong_person_is_told_so_alone(hand: Hand, person: str, why: str) -> None:
    one = hand.office.refund(asked_by=hand.slack.members["fin_2"])
    hand.office.tell()
    (message,) = hand.slack.messages("finance")
    hand.press(person, "approve", message)
    soon(hand.whispers)
    ((who, text),) = hand.whispers()
    assert who == person
    assert why in text
    (refused,) = bodies(hand.office.shop, one, Kind.REFUSED)
    assert (refused["channel"], why in refused["why"]) == ("slack", True)
    assert gate(hand, one).answers == ()
    assert hand.slack.messages("finance") == [message], "nobody else sees it"


def test_the_same_person_twice_counts_once(hand: Hand, asked: tuple[str, dict[str, Any]]) -> None:
    one, message = asked
    for _ in range(3):
        hand.press("fin_1", "approve", message, trigger=str(threading.get_ident() + _))
    soon(lambda: len(hand.whispers()) == 2)
    assert gate(hand, one).missing == 1
    assert all("counts once" in text for _, text in hand.whispers())


def test_a_no_asks_for_its_reason(hand: Hand, asked: tuple[str, dict[str, Any]]) -> None:
    one, message = asked
    hand.press("fin_1", "deny", message, trigger=hand.trigger("fin_1"))
    soon(lambda: hand.office.faulty and hand.office.faulty.said("views.open"))
    assert gate(hand, one).state == "asked"
    status, said = hand.fill_in("fin_1", hand.view(), reason=" ")
    assert (status, said["response_action"]) == (200, "errors")
    assert said["errors"] == {"reason:": "say why it is denied: it is kept for whoever reads it later"}
    assert hand.fill_in("fin_1", hand.view(), reason="too much <b>") == (200, None)
    assert gate(hand, one).state == "denied"
    assert gate(hand, one).answers[-1]["reason"] == "too much <b>"


def test_a_form_is_filled_in(offices: Open, database_url: str, slack: Slack) -> None:
    office = offices(database_url, slack, DENY)
    one = office.refund()
    office.tell()
    (message,) = slack.messages("finance")
    with served(office, slack) as hand:
        hand.press("fin_1", "approve", message, trigger=hand.trigger("fin_1"))
        soon(lambda: office.faulty and office.faulty.said("views.open"))
        status, said = hand.fill_in("fin_1", hand.view())
        assert (status, said["errors"]) == (200, {"field:reason": "reason: it is not filled in"})
        status, said = hand.fill_in("stranger", hand.view(), reason="lost")
        assert "is not one of the people" in said["errors"]["field:reason"]
        assert hand.fill_in("fin_1", hand.view(), reason="damaged") == (200, None)
    (answered,) = gate(hand, one).answers
    assert (answered["person"], answered["form"], answered["channel"]) == (
        "fin_1",
        {"reason": "damaged"},
        "slack",
    )


def test_no_form_is_opened_for_the_wrong_person(hand: Hand, asked: tuple[str, dict[str, Any]]) -> None:
    one, message = asked
    hand.press("stranger", "deny", message, trigger=hand.trigger("stranger"))
    soon(hand.whispers)
    assert hand.office.faulty is not None
    assert hand.office.faulty.said("views.open") == []
    assert Kind.REFUSED in kinds(hand.office.shop, one)


def test_an_acknowledgement_is_one_press(offices: Open, database_url: str, slack: Slack) -> None:
    office = offices(database_url, slack, ACKNOWLEDGE)
    one = office.refund()
    office.tell()
    (message,) = slack.messages("finance")
    assert set(buttons(message)) == {"acknowledge", "deny", "open"}
    with served(office, slack) as hand:
        hand.press("fin_1", "acknowledge", message)
        soon(lambda: gate(hand, one).state == "cleared")
    office.tell()
    (after,) = slack.messages("finance")
    assert "Acknowledged by fin_1." in words(after["blocks"])


def noted(hand: Hand) -> list[dict[str, Any]]:
    """Return what the host refused where no case is concerned."""
    with hand.office.shop.ledger.database.read() as connection:
        found = connection.execute(
            sa.select(t.events.c.payload).where(t.events.c.name == "refused")
        ).scalars()
        return [json.loads(one) for one in found]


def test_forged_stale_and_repeated_clicks_are_refused(hand: Hand, asked: tuple[str, dict[str, Any]]) -> None:
    one, message = asked
    click = hand.pressed("fin_1", "approve", message)
    now = hand.office.clock.at
    refused = [
        hand.post(click, secret="fedcba9876543210fedcba9876543210"),
        hand.post(click, at=now - 301_000),
        hand.post(click, at=now + 301_000),
        hand.post(click, headers={"X-Slack-Signature": ""}),
        hand.post(click, headers={"X-Slack-Signature": "v0=" + "0" * 64}),
        hand.post(click, headers={"X-Slack-Request-Timestamp": "soon"}),
        hand.post(click, headers={"X-Slack-Request-Timestamp": str(now // 1000 + 1)}),
        hand.post(None, body=b"payload=%7B%7D&more", headers={"X-Slack-Signature": "v0=ab"}),
    ]
    assert [status for status, _ in refused] == [401] * len(refused)
    assert gate(hand, one).answers == ()
    assert len(noted(hand)) == len(refused)
    assert hand.post(click)[0] == 200
    assert hand.post(click)[0] == 401, "the very same body again"
    soon(lambda: gate(hand, one).answers)
    assert len(gate(hand, one).answers) == 1
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        assert hand.post(hand.pressed("lead_1", "approve", message), method=method)[0] == 405
    assert gate(hand, one).missing == 1


def test_a_click_in_another_workspace_is_nobodys(hand: Hand, asked: tuple[str, dict[str, Any]]) -> None:
    one, message = asked
    hand.press("fin_1", "approve", message, team="T0FOREIGN1")
    click = hand.pressed("fin_1", "approve", message)
    click["user"]["team_id"] = "T0FOREIGN2"  # in a channel that two workspaces share
    hand.post(click)
    soon(lambda: len(bodies(hand.office.shop, one, Kind.REFUSED)) == 2)
    who = {said["person"] for said in bodies(hand.office.shop, one, Kind.REFUSED)}
    member = hand.slack.members["fin_1"]
    assert who == {f"slack:T0FOREIGN1/{member}", f"slack:T0FOREIGN2/{member}"}
    assert gate(hand, one).answers == ()


def test_a_button_of_an_older_request_counts_for_nothing(
    hand: Hand, asked: tuple[str, dict[str, Any]]
) -> None:
    one, message = asked
    office = hand.office
    old = json.loads(buttons(message)["approve"]["value"])
    newest = {"request": old["request"] + 1}
    for changed, why in (
        ({"digest": "0" * 64}, "what was shown is not what would run now"),
        (newest, "it has been asked anew since"),
        ({"step": "post"}, "post of this case asks nobody"),
        ({"case": "case_of_another_team"}, "there is no case"),
    ):
        before = len(hand.whispers())
        hand.press("fin_1", "approve", message, value=json.dumps({**old, **changed}))
        soon(lambda before=before: len(hand.whispers()) > before)
        assert why in hand.whispers()[-1][1]
    assert gate(hand, one).answers == ()
    soon(lambda: any("case_of_another_team" in said["what"] for said in noted(hand)))
    assert {said["why"].split(":")[0] for said in bodies(office.shop, one, Kind.REFUSED)} == {
        "what was shown is not what would run now",
        "it has been asked anew since",
        "post of this case asks nobody for anything",
    }
    cancel(office.shop, one, by="ann", reason="enough")
    before = len(hand.whispers())
    hand.press("fin_1", "approve", message)
    soon(lambda: len(hand.whispers()) > before)
    assert "it is cancelled already" in hand.whispers()[-1][1]


def test_what_slack_never_sends_is_refused(hand: Hand, asked: tuple[str, dict[str, Any]]) -> None:
    one, message = asked
    click = hand.pressed("fin_1", "approve", message)
    for body, status in (
        (b"", 400), (b"payload=", 400), (b"payload=%7B", 400), (b"payload=[]", 422), (b"payload=1&payload=2", 400),
        (b"x" * 300_000, 413), (b"payload=%ff%fe", 400), (b"payload=" + b"%5B" * 5_000, 400),
    ):  # fmt: skip
        assert hand.post(None, body=body)[0] == status, body[:30]
    for value in ("", "{}", "[]", "null", '{"case":1,"step":"refund","request":1,"digest":"x"}', "x" * 5_000):
        assert hand.press("fin_1", "approve", message, value=value) == 400
    assert hand.post({**click, "actions": []})[0] == 200
    assert hand.post({**click, "type": "shortcut"})[0] == 200
    assert hand.press("fin_1", "open", message) == 200
    assert hand.post(click, headers={"Content-Type": "application/json"})[0] == 415
    assert gate(hand, one).answers == ()


def test_many_clicks_at_once_come_to_one_verdict(hand: Hand, asked: tuple[str, dict[str, Any]]) -> None:
    one, message = asked
    clicks = [(person, number) for person in ("fin_1", "fin_2", "lead_1") for number in range(4)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda each: hand.press(each[0], "approve", message, trigger=f"{each}"), clicks))
    soon(lambda: len(hand.whispers()) == len(clicks) - 2)
    assert gate(hand, one).state == "cleared"
    assert len({said["person"] for said in gate(hand, one).answers}) == 2
    pump(hand.office.shop)
    assert refunds(hand.office) == 1


def test_an_answer_on_a_page_locks_the_message_in_slack(
    hand: Hand, asked: tuple[str, dict[str, Any]]
) -> None:
    one, message = asked
    say(hand.office, one, "fin_1", form={})
    say(hand.office, one, "fin_2", form={})
    hand.press("lead_1", "approve", message, channel="leads")
    soon(hand.whispers)
    assert "it is cleared already" in hand.whispers()[-1][1]
    hand.office.tell()
    assert not any(buttons(found) for name in ("finance", "leads") for found in hand.slack.messages(name))


def test_without_the_channel_there_is_no_door(offices: Open, database_url: str, slack: Slack) -> None:
    office = offices(database_url, None)
    with served(office, slack) as hand:
        assert hand.post({"type": "block_actions"})[0] == 404
