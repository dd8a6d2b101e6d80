"""Checkpoints: nothing behind one runs before the right people have answered for exactly what will run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from openclaw_dagster.runtime.clearance import Answer, Counted, Outcome, Refused, Settled, answer
from openclaw_dagster.runtime.operations import cancel, redrive
from openclaw_dagster.runtime.skips import Granted, NotGranted, Skip, grant
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.store.entries import Kind

from .conftest import Open
from .kit import (
    bodies,
    case,
    check_books,
    clock_of,
    drain,
    grab,
    kinds,
    order,
    outside,
    pump,
    write_environment,
)

MINUTE = 60_000

REFUNDS = """
system: dispatch
version: 1.0.0
owner: ops_lead
triggers:
  - order_created: {source: webhook, idempotency: order.id, requester: order.asked_by}
decisions:
  - pick: {inputs: [order, limit], table: [{else: true, then: refund}], emits: picked}
execution:
  - post: {on: picked, action: erp.post, with: {order: "${order.id}"}, undo: erp.reverse}
  - refund:
      on: picked
      needs: [post]
      action: erp.refund
      with: {order: "${order.id}", amount: "${limit}"}
      effect: irreversible
      critical: true
      checkpoint:
        approval: [finance, ops_lead]
        quorum: 2
        form: {reason: {choose: [lost, damaged, late]}}
        remind: 15m
        deadline: 2h
        overdue: OVERDUE
      skip: outage
skip_policies:
  - outage: {steps: [refund], when: "order.value < 100", approval: [ops_lead], expires: 4h}
"""
ESCALATE = (
    REFUNDS.replace("OVERDUE", "escalate\n        escalate_to: ops_agent")
    .replace("[finance, ops_lead]", "[finance]")
    .replace("approval: [finance]\n", "approval: [finance]\n", 1)
)
DENY = REFUNDS.replace("OVERDUE", "deny")
HOLD = REFUNDS.replace("OVERDUE", "hold")


def waiting(shops: Open, text: str = DENY, **fields: Any) -> tuple[Workspace, str]:
    shop = shops(text, constants="{limit: 80}")
    one = order(shop, "A-1", **{"value": 50, "asked_by": "shop_7", **fields})
    pump(shop)
    assert case(shop, one).state == "awaiting_human"
    return shop, one


def say(shop: Workspace, one: str, person: str, verdict: Any = "approve", **given: Any) -> Outcome:
    digest = given.pop("digest", None) or case(shop, one).facts.gates["refund"].digest
    given = {"form": {"reason": "lost"}, "reason": "seen", "channel": "page", **given}
    return answer(shop, Answer(one, "refund", digest, person, verdict, **given))


def refunds(shop: Workspace) -> int:
    return len(outside(shop, "erp", "refund"))


def test_two_people_approve_and_it_runs_once(shops: Open) -> None:
    shop, one = waiting(shops)
    first = say(shop, one, "fin_1")
    assert isinstance(first, Counted)
    assert first.missing == 1
    pump(shop)
    assert refunds(shop) == 0
    again = say(shop, one, "fin_1")
    assert isinstance(again, Refused)
    assert "counts once" in again.why
    last = say(shop, one, "lead_1")
    assert isinstance(last, Settled)
    assert last.state == "cleared"
    pump(shop)
    assert (case(shop, one).state, refunds(shop)) == ("completed", 1)
    (body,) = bodies(shop, one, Kind.CLOSED)
    assert body["clearances"]["refund"]["by"] == ["fin_1", "lead_1"]
    assert body["touches"] == 2
    check_books(shop)


@pytest.mark.parametrize("asked_by", ["fin_1", "fin_1@example.org", "FIN_1@example.org ", "U0000FIN1"])
def test_whoever_asked_for_it_never_answers(shops: Open, asked_by: str) -> None:
    shop, one = waiting(shops, asked_by=asked_by)
    said = say(shop, one, "fin_1")
    assert isinstance(said, Refused)
    assert "nobody clears what they asked for" in said.why
    assert isinstance(say(shop, one, "fin_2"), Counted)
    (refused,) = bodies(shop, one, Kind.REFUSED)
    assert (refused["person"], refused["channel"]) == ("fin_1", "page")


@pytest.mark.parametrize(
    ("person", "given", "why"),
    [
        ("agent_1", {}, "answered by finance or ops_lead"),
        ("stranger", {}, "not one of the people"),
        ("", {}, "somebody without a name"),
        ("fin_1", {"token": frozenset({"operator"})}, "the token was not made for answering"),
        ("fin_1", {"digest": "0" * 64}, "not what would run now"),
        ("fin_1", {"verdict": "acknowledge"}, "one of deny, approve"),
        ("fin_1", {"verdict": "deny", "reason": " "}, "say why"),
        ("fin_1", {"form": {}}, "reason: it is not filled in"),
        ("fin_1", {"form": {"reason": "because"}}, "one of lost, damaged, late"),
        ("fin_1", {"form": {"reason": "lost", "more": "x"}}, "no field more"),
    ],
)  # fmt: skip
def test_an_answer_that_does_not_count_is_refused_and_written_down(
    shops: Open, person: str, given: dict[str, Any], why: str
) -> None:
    shop, one = waiting(shops)
    said = say(shop, one, person, **given)
    assert isinstance(said, Refused)
    assert why in said.why
    assert [body["why"] for body in bodies(shop, one, Kind.REFUSED)] == [said.why]
    drain(shop, until=lambda: True)
    assert refunds(shop) == 0
    check_books(shop)


def test_an_answer_to_nothing_is_refused(shops: Open) -> None:
    shop, one = waiting(shops)
    assert isinstance(answer(shop, Answer("case_none", "refund", "x", "fin_1", "approve", "page")), Refused)
    assert isinstance(answer(shop, Answer(one, "post", "x", "fin_1", "approve", "page")), Refused)


def test_a_denial_takes_back_what_was_done_and_hands_the_case_to_its_owner(shops: Open) -> None:
    shop, one = waiting(shops)
    said = say(shop, one, "fin_2", "deny", reason="no receipt")
    assert isinstance(said, Settled)
    assert said.state == "denied"
    pump(shop)
    found = case(shop, one)
    assert (found.state, refunds(shop)) == ("handed_off", 0)
    assert "denied by fin_2: no receipt" in (found.reason or "")
    assert found.facts.steps["post"].state == "undone"
    (body,) = bodies(shop, one, Kind.HANDED_OFF)
    assert body["to"] == "ops_lead"
    assert [left["owner"] for left in body["residual"]] == ["ops_lead"]
    check_books(shop)


def test_silence_denies_where_the_file_says_so(shops: Open) -> None:
    shop, one = waiting(shops)
    say(shop, one, "fin_1")
    drain(shop)
    found = case(shop, one)
    assert (found.state, refunds(shop)) == ("handed_off", 0)
    assert kinds(shop, one).count(Kind.REMINDED) == 7
    assert Kind.EXPIRED in kinds(shop, one)
    assert isinstance(say(shop, one, "fin_2"), Refused)
    check_books(shop)


def test_after_the_deadline_no_answer_counts_even_before_anybody_looked(shops: Open) -> None:
    shop, one = waiting(shops)
    clock_of(shop).at += 2 * 60 * MINUTE
    said = say(shop, one, "fin_1")
    assert isinstance(said, Refused)
    assert "deadline" in said.why


def test_silence_is_escalated_to_others_who_may_answer_then(shops: Open) -> None:
    shop, one = waiting(shops, ESCALATE)
    refused = say(shop, one, "agent_1")
    assert isinstance(refused, Refused)
    drain(shop, until=lambda: Kind.ESCALATED in kinds(shop, one))
    assert case(shop, one).state == "awaiting_human"
    assert isinstance(say(shop, one, "agent_1"), Counted)
    assert isinstance(say(shop, one, "fin_2"), Settled)
    pump(shop)
    assert (case(shop, one).state, refunds(shop)) == ("completed", 1)
    (body,) = bodies(shop, one, Kind.ESCALATED)
    assert body["to"] == ["ops_agent"]
    check_books(shop)


def test_a_request_that_is_held_waits_for_as_long_as_it_takes(shops: Open) -> None:
    shop, one = waiting(shops, HOLD)
    drain(shop)
    assert case(shop, one).state == "awaiting_human"
    assert case(shop, one).due_at is None
    assert kinds(shop, one).count(Kind.REMINDED) == 12
    say(shop, one, "fin_1")
    say(shop, one, "fin_2")
    pump(shop)
    assert (case(shop, one).state, refunds(shop)) == ("completed", 1)
    check_books(shop)


@pytest.mark.parametrize("answers", [0, 1, 2])
def test_what_changes_while_it_waits_is_asked_again_with_the_difference(shops: Open, answers: int) -> None:
    shop, one = waiting(shops)
    before = case(shop, one).facts.gates["refund"]
    for person in ("fin_1", "fin_2")[:answers]:
        say(shop, one, person)
    folder = shop.settings.specs.parent
    write_environment(folder, constants="{limit: 95}")
    later = shops(again=True, clock=clock_of(shop))
    clock_of(later).at += 15 * MINUTE
    pump(later)
    gate = case(later, one).facts.gates["refund"]
    assert (gate.request, gate.state, refunds(later)) == (2, "asked", 0)
    assert gate.changed == {"args.amount": {"before": 80, "after": 95}}
    old = say(later, one, "lead_1", digest=before.digest)
    assert isinstance(old, Refused)
    assert "look at it again" in old.why
    say(later, one, "fin_1")
    say(later, one, "lead_1")
    pump(later)
    assert (case(later, one).state, refunds(later)) == ("completed", 1)
    (record,) = outside(later, "erp", "refund")
    assert record.args["amount"] == 95
    check_books(later)


def test_a_cancelled_case_takes_its_question_along(shops: Open) -> None:
    shop, one = waiting(shops)
    cancel(shop, one, by="ann", reason="not wanted any more")
    said = say(shop, one, "fin_1")
    assert isinstance(said, Refused)
    assert "cancelled" in said.why
    assert not shop.ledger.checkpoints(waiting=True)


def test_a_clearance_is_used_once(shops: Open) -> None:
    shop = shops(DENY, constants="{limit: 80}", faults={"erp": ["{operation: refund, answer: refuse}"]})
    one = order(shop, "A-1", value=50, asked_by="shop_7")
    pump(shop)
    say(shop, one, "fin_1")
    say(shop, one, "fin_2")
    drain(shop)
    assert case(shop, one).state == "dead_lettered"
    redrive(shop, one, by="ann", reason="mended")
    pump(shop)
    gate = case(shop, one).facts.gates["refund"]
    assert (case(shop, one).state, gate.request, gate.answers) == ("awaiting_human", 2, ())
    check_books(shop)


def test_a_retry_runs_under_the_clearance_it_began_with(shops: Open) -> None:
    shop = shops(
        DENY, constants="{limit: 80}", faults={"erp": ["{operation: refund, answer: fail, times: 1}"]}
    )
    one = order(shop, "A-1", value=50, asked_by="shop_7")
    pump(shop)
    say(shop, one, "fin_1")
    say(shop, one, "fin_2")
    drain(shop)
    assert (case(shop, one).state, refunds(shop)) == ("completed", 1)
    assert case(shop, one).facts.gates["refund"].request == 1
    check_books(shop)


def test_a_step_is_left_out_only_under_its_policy(shops: Open) -> None:
    shop, one = waiting(shops)
    for person, why in (("fin_1", "granted by ops_lead"), ("stranger", "not one of the people")):
        refused = grant(shop, Skip(one, "refund", person, "page", "the line is down"))
        assert isinstance(refused, NotGranted)
        assert why in refused.why
    nothing = grant(shop, Skip(one, "post", "lead_1", "page", "the line is down"))
    assert isinstance(nothing, NotGranted)
    granted = grant(shop, Skip(one, "refund", "lead_1", "page", "the line is down"))
    assert isinstance(granted, Granted)
    pump(shop)
    assert (case(shop, one).state, refunds(shop)) == ("completed", 0)
    assert not shop.ledger.checkpoints(waiting=True)
    (skipped,) = bodies(shop, one, Kind.SKIPPED)
    assert (skipped["policy"], skipped["by"]) == ("outage", "lead_1")
    again = grant(shop, Skip(one, "refund", "lead_1", "page", "once more"))
    assert isinstance(again, NotGranted)
    check_books(shop)


def test_a_policy_that_does_not_apply_lets_nothing_out(shops: Open) -> None:
    shop = shops(DENY, constants="{limit: 80}")
    one = order(shop, "A-1", value=500, asked_by="shop_7")
    pump(shop)
    refused = grant(shop, Skip(one, "refund", "lead_1", "page", "the line is down"))
    assert isinstance(refused, NotGranted)
    assert "order.value < 100 is false" in refused.why


def test_what_has_been_tried_is_not_left_out_any_more(shops: Open) -> None:
    fault = {"erp": ["{operation: refund, answer: fail, times: 1}"]}
    shop = shops(DENY, constants="{limit: 80}", faults=fault)
    one = order(shop, "A-1", value=50, asked_by="shop_7")
    pump(shop)
    say(shop, one, "fin_1")
    say(shop, one, "fin_2")
    pump(shop)
    assert case(shop, one).state == "waiting_retry"
    refused = grant(shop, Skip(one, "refund", "lead_1", "page", "the line is down"))
    assert isinstance(refused, NotGranted)
    assert "has begun already" in refused.why
    drain(shop)
    assert (case(shop, one).state, refunds(shop)) == ("completed", 1)


def test_a_policy_may_look_at_a_source(shops: Open) -> None:
    text = DENY.replace('when: "order.value < 100"', 'when: "erp_order.total > 50"')
    text += (
        "\ndata: {events: {store: event-log}, sources: {erp_order: {read: erp.order, with: {order: A-1}}}}\n"
    )
    text += "observability: {slo: {error_rate: <0.5%}}\n"
    shop, one = waiting(shops, text)
    assert isinstance(grant(shop, Skip(one, "refund", "lead_1", "page", "the line is down")), Granted)
    pump(shop)
    assert (case(shop, one).state, refunds(shop)) == ("completed", 0)
    check_books(shop)


def test_a_skip_that_is_over_lets_nothing_out(shops: Open) -> None:
    shop = shops(HOLD, constants="{limit: 80}", faults={"erp": ["{operation: post, answer: fail, times: 1}"]})
    one = order(shop, "A-1", value=50, asked_by="shop_7")
    pump(shop)
    granted = grant(shop, Skip(one, "refund", "lead_1", "page", "the line is down"))
    assert isinstance(granted, Granted)
    clock_of(shop).at += 4 * 60 * MINUTE
    pump(shop)
    assert (case(shop, one).state, refunds(shop)) == ("awaiting_human", 0)
    check_books(shop)


def test_many_answers_at_once_come_to_one_verdict(shops: Open) -> None:
    shop, one = waiting(shops)
    people = [("fin_1", "approve"), ("fin_2", "deny"), ("lead_1", "approve"), ("fin_1", "deny")] * 3
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda each: say(shop, one, *each), people))
    drain(shop)
    gate = case(shop, one).facts.gates["refund"]
    assert gate.state in ("cleared", "denied")
    assert refunds(shop) == (1 if gate.state == "cleared" else 0)
    assert len({said["person"] for said in gate.answers}) == len(gate.answers)
    check_books(shop)


def test_an_answer_during_a_reminder_is_not_lost(shops: Open) -> None:

    shop, one = waiting(shops)
    clock_of(shop).at += 15 * MINUTE
    batch = grab(shop)
    assert [held.id for held in batch.going()] == [one]
    say(shop, one, "fin_1")
    assert isinstance(say(shop, one, "fin_2"), Settled)
    from openclaw_dagster.runtime.advance import advance

    advance(batch)
    assert case(shop, one).due_at is not None
    pump(shop)
    assert (case(shop, one).state, refunds(shop)) == ("completed", 1)
    check_books(shop)


def test_the_open_requests_are_listed(shops: Open) -> None:
    shop, one = waiting(shops)
    (request,) = shop.ledger.checkpoints(waiting=True)
    assert (request.case_id, request.step, request.roles) == (one, "refund", ("finance", "ops_lead"))
    say(shop, one, "fin_1")
    (request,) = shop.ledger.checkpoints(waiting=True)
    assert request.answers == 1
    say(shop, one, "fin_2")
    assert not shop.ledger.checkpoints(waiting=True)
    (request,) = shop.ledger.checkpoints(case_id=one)
    assert request.state == "cleared"


def test_an_event_that_does_not_say_who_asked_goes_no_further(shops: Open) -> None:
    shop = shops(DENY, constants="{limit: 80}")
    one = order(shop, "A-1", value=50)
    drain(shop)
    found = case(shop, one)
    assert (found.state, refunds(shop)) == ("dead_lettered", 0)
    assert "order.asked_by is missing" in (found.reason or "")
    check_books(shop)
