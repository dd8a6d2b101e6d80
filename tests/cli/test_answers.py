"""`claw inbox`, `approve`, `acknowledge`, `deny`, `skip`, `hold`, `release`: what people say from a terminal."""

from __future__ import annotations

import json
import os
import pwd
import time
from pathlib import Path

import pytest

from openclaw_dagster.runtime.advance import advance, hold
from openclaw_dagster.runtime.intake import arrival
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.settings import read_settings
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.entries import Kind
from openclaw_dagster.store.tokens import Tokens

from .conftest import SPECS, Claw, Shopkeeper

ME = f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
FORM = ("--form", "reason=lost", "--form", "note=The carrier says so.")


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLAW_TOKEN", raising=False)


def stalled(keeper: Shopkeeper, fixture: str, key: str) -> str:
    """Open the case of an order that does not move, and let it go on until it asks."""
    system = keeper.shop.system("stalled_orders")
    payload = json.loads((SPECS / "fixtures" / "orders" / f"{fixture}.json").read_text())
    payload["order"]["id"] = key
    (receipt,) = keeper.shop.ledger.receive([arrival(system, system.trigger("order_stalled"), payload, key)])
    assert receipt.case_id is not None
    go_on(keeper, receipt.case_id)
    return receipt.case_id


def go_on(keeper: Shopkeeper, case_id: str) -> Case:
    claim = keeper.shop.ledger.claim("stalled_orders", limit=1, lease=60_000, by="test", only=[case_id])
    assert claim is not None
    advance(hold(keeper.shop, claim.id, run_id="run-1", host="test"))
    return found(keeper, case_id)


def found(keeper: Shopkeeper, case_id: str) -> Case:
    case = keeper.shop.ledger.case(case_id)
    assert case is not None
    return case


def refusals(keeper: Shopkeeper, case_id: str) -> list[tuple[str, str]]:
    journal = keeper.shop.ledger.journal(case_id)
    return [
        (str((one.body or {})["person"]), str((one.body or {})["why"]))
        for one in journal
        if one.kind is Kind.REFUSED
    ]


def test_the_inbox_never_makes_a_ledger(claw: Claw, project: Path) -> None:
    done = claw("inbox")
    assert (done.code, done.err.startswith("error CLAW701")) == (1, True)
    assert not (project / ".claw").exists()


def test_what_waits(claw: Claw, keeper: Shopkeeper) -> None:
    keeper.order("A-1")
    assert claw("inbox").out == "nothing waits for anybody\n"
    case_id = stalled(keeper, "lost", "S-1")
    shown = claw("inbox").out
    for words in ("S-1", "refund", "finance or ops_lead", "0 of 2"):
        assert words in shown
    claw("hold", "erp.refund", "--reason", "month end")
    said = claw("inbox", "--json").json
    assert [(one["case_id"], one["step"], one["quorum"]) for one in said["waiting"]] == [
        (case_id, "refund", 2)
    ]
    assert [(one["scope"], one["by"]) for one in said["holds"]] == [("erp.refund", ME)]
    assert "erp.refund is on hold: month end" in claw("inbox").out


def test_two_people_approve_and_it_goes_on(claw: Claw, keeper: Shopkeeper) -> None:
    case_id = stalled(keeper, "lost", "S-1")
    first = claw("approve", "S-1", "refund", "--yes", *FORM, "--as", "fin_1")
    assert first.code == 0
    assert "refund will run erp.refund" in first.out
    assert "480" in first.out
    assert "recorded; 1 more to answer" in first.out
    again = claw("approve", "S-1", "refund", "--yes", *FORM, "--as", "fin_1")
    assert (again.code, "CLAW716" in again.err, "counts once" in again.err) == (1, True, True)
    last = claw("approve", case_id, "refund", "--yes", *FORM, "--as", "lead_1", "--json")
    assert last.json == {"ok": True, "case": case_id, "step": "refund", "missing": 0}
    case = go_on(keeper, case_id)
    assert case.state == "completed"
    assert [one["channel"] for one in case.facts.gates["refund"].answers] == ["cli", "cli"]
    assert refusals(keeper, case_id) == [("fin_1", "fin_1 has answered already, and counts once")]


def test_nobody_is_asked_where_there_is_no_terminal(claw: Claw, keeper: Shopkeeper) -> None:
    case_id = stalled(keeper, "lost", "S-1")
    done = claw("approve", "S-1", "refund", *FORM, "--as", "fin_1")
    assert (done.code, "say --yes" in done.err) == (2, True)
    assert found(keeper, case_id).facts.gates["refund"].answers == ()


def test_who_says_no_to_the_question_has_not_answered(
    claw: Claw, keeper: Shopkeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    case_id = stalled(keeper, "lost", "S-1")
    monkeypatch.setattr("openclaw_dagster.cli.answers._terminal", lambda: True)
    assert claw("approve", "S-1", "refund", *FORM, "--as", "fin_1", stdin="n\n").code == 1
    assert found(keeper, case_id).facts.gates["refund"].answers == ()
    asked = claw("approve", "S-1", "refund", *FORM, "--as", "fin_1", stdin="y\n")
    assert (asked.code, "Approve refund?" in asked.err) == (0, True)
    assert len(found(keeper, case_id).facts.gates["refund"].answers) == 1


def test_a_denial_says_why(claw: Claw, keeper: Shopkeeper) -> None:
    case_id = stalled(keeper, "lost", "S-1")
    assert claw("deny", "S-1", "refund", "--as", "fin_1").code == 2
    assert claw("deny", "S-1", "refund", "--reason", " ", "--as", "fin_1").code == 1
    assert claw("deny", "S-1", "refund", "--reason", "no receipt", "--as", "fin_1").code == 0
    case = go_on(keeper, case_id)
    assert (case.state, "denied by fin_1: no receipt" in (case.reason or "")) == ("handed_off", True)


def test_an_acknowledgement(claw: Claw, keeper: Shopkeeper) -> None:
    case_id = stalled(keeper, "carrier", "S-1")
    assert "one of deny, acknowledge" in claw("approve", "S-1", "rebook", "--yes", "--as", "agent_2").err
    assert claw("acknowledge", "S-1", "rebook", "--yes", "--as", "agent_2").code == 0
    assert go_on(keeper, case_id).state == "completed"


def test_a_step_is_left_out(claw: Claw, keeper: Shopkeeper) -> None:
    case_id = stalled(keeper, "carrier_down", "S-1")
    refused = claw("skip", "S-1", "rebook", "--reason", "they are down", "--as", "agent_2")
    assert (refused.code, "granted by ops_lead" in refused.err) == (1, True)
    done = claw("skip", "S-1", "rebook", "--reason", "they are down", "--as", "lead_1")
    assert (done.code, "rebook is left out" in done.out) == (0, True)
    assert go_on(keeper, case_id).facts.steps["rebook"].state == "skipped"


def test_a_step_without_a_policy_is_never_left_out(claw: Claw, keeper: Shopkeeper) -> None:
    case_id = stalled(keeper, "lost", "S-1")
    refused = claw("skip", "S-1", "refund", "--reason", "there is no time", "--as", "lead_1")
    assert (refused.code, "refund is never skipped" in refused.err) == (1, True)
    assert [who for who, _ in refusals(keeper, case_id)] == ["lead_1"]
    assert found(keeper, case_id).state == "awaiting_human"


def test_who_nobody_knows_answers_nothing_and_the_journal_says_so(
    claw: Claw, keeper: Shopkeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    case_id = stalled(keeper, "lost", "S-1")
    words = ("S-1", "refund", "--yes", *FORM)
    done = claw("approve", *words)
    assert (done.code, "CLAW715" in done.err) == (1, True)
    assert claw("skip", "S-1", "refund", "--reason", "late").code == 1
    assert "is not one of the people" in claw("approve", *words, "--as", "stranger").err
    people = [person for person, _ in refusals(keeper, case_id)]
    assert people == [ME, ME, "stranger"]
    environments = keeper.shop.settings.specs / "environments"
    (environments / "staging.yaml").write_text((environments / "development.yaml").read_text())
    monkeypatch.setenv("CLAW_ENVIRONMENT", "staging")
    done = claw("approve", *words, "--as", "fin_1")
    assert (done.code, "--as is for the environment development" in done.err) == (1, True)
    assert found(keeper, case_id).facts.gates["refund"].answers == ()


def test_a_token_says_who_answers(claw: Claw, keeper: Shopkeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    case_id = stalled(keeper, "lost", "S-1")
    tokens = Tokens(keeper.shop.ledger.database)
    words = ("approve", "S-1", "refund", "--yes", *FORM, "--json")

    def made(*levels: str) -> str:
        text, token = tokens.make("token", "fin_1", lasts=60_000, by="test", claims={"levels": levels})
        monkeypatch.setenv("CLAW_TOKEN", text)
        return token.id

    made("operator")
    assert "the token was not made for answering: it takes the level approver" in claw(*words).out
    assert refusals(keeper, case_id)[-1][0] == "fin_1"
    tokens.revoke(made("approver"))
    assert claw(*words).code == 1
    made("approver")
    assert claw(*words, "--as", "lead_1").json["missing"] == 1
    assert [one["person"] for one in found(keeper, case_id).facts.gates["refund"].answers] == ["fin_1"]


def test_a_form_is_said_as_name_and_value(claw: Claw, keeper: Shopkeeper) -> None:
    stalled(keeper, "lost", "S-1")
    done = claw("approve", "S-1", "refund", "--yes", "--form", "reason", "--as", "fin_1")
    assert (done.code, "name=value" in done.err) == (2, True)
    done = claw("approve", "S-1", "refund", "--yes", "--form", "reason=lost", "--as", "fin_1")
    assert "note: it is not filled in" in done.err
    assert "fill in: --form reason=" in done.out
    assert "lost|" in done.out


def test_what_is_on_hold_waits_and_goes_on_when_it_is_released(claw: Claw, keeper: Shopkeeper) -> None:
    assert "CLAW460" in claw("hold", "nothing.here", "--reason", "why").err
    assert claw("hold", "carrier.book", "--reason", "wrong prices", "--json").json["new"] is True
    assert "on hold already" in claw("hold", "carrier.book", "--reason", "wrong prices").out
    case_id = keeper.order("A-1")
    assert keeper.move(case_id).facts.steps["book_carrier"].state == "held"
    done = claw("release", "carrier.book", "--reason", "prices are right again")
    assert "carrier.book goes on; 1 case due again" in done.out
    time.sleep(1.1)  # a process looks at the holds once a second
    assert keeper.move(case_id).state == "completed"
    refused = claw("release", "carrier.book", "--reason", "again")
    assert (refused.code, "is not on hold" in refused.err) == (1, True)


BY_HAND = """
system: payback
version: 1.0.0
owner: ops_lead
triggers: [{begin: {source: manual}}]
decisions: [{pick: {inputs: [payload], table: [{else: true, then: go}], emits: picked}}]
execution:
  - pay:
      {on: picked, action: erp.refund, with: {order: o, amount: 5}, effect: irreversible, checkpoint: {approval: [finance]}}
data: {events: {store: event-log}}
observability: {slo: {error_rate: <1%}}
"""


def test_who_begins_a_case_by_hand_has_asked_for_it(claw: Claw, project: Path) -> None:
    (project / "claw_specs" / "payback.claw").write_text(BY_HAND)
    one = claw("send", "payback", "--data", "{}", "--as", "fin_1", "--json").json["case"]
    two = claw("send", "payback", "--data", "{}", "--json").json["case"]
    shop = Workspace(read_settings())
    try:
        claim = shop.ledger.claim("payback", limit=9, lease=60_000, by="test")
        assert claim is not None
        advance(hold(shop, claim.id, run_id="run-1", host="test"))
        asked = [case.facts.requester for name in (one, two) if (case := shop.ledger.case(name)) is not None]
        assert asked == ["fin_1", ME]
    finally:
        shop.close()
    refused = claw("approve", one, "pay", "--as", "fin_1", "--yes")
    assert refused.code == 1
    assert "fin_1 asked for it" in refused.err
    assert claw("approve", one, "pay", "--as", "fin_2", "--yes").code == 0
    stranger = claw("send", "dispatch", "--as", "fin_1")
    assert stranger.code == 2
    assert "--as is for manual triggers" in stranger.err
