"""Runbooks inside runbooks: a step begins cases of another system, and goes on with what they come to."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from openclaw_dagster.runtime import holds
from openclaw_dagster.runtime.advance import advance
from openclaw_dagster.runtime.clearance import Answer, Outcome, Refused, Settled, answer
from openclaw_dagster.runtime.operations import cancel, redrive
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.entries import Entry, Kind
from openclaw_dagster.store.ledger import Change

from .conftest import Open
from .kit import bodies, case, check_books, drain, grab, kinds, order, outside, pump, write_environment

SHIP = """
system: dispatch
version: 1.0.0
owner: ops_lead
triggers:
  - order_created: {source: webhook, idempotency: order.id, requester: order.asked_by}
decisions:
  - pick: {inputs: [order], table: [{else: true, then: go}], emits: picked}
execution:
  - post: {on: picked, action: erp.post, with: {order: "${order.id}"}, undo: erp.reverse}
  - pack:
      on: picked
      needs: [post]
      action: runbook.pack_line
      foreach: order.lines
      as: line
      with: {line: "${line}", order: "${order.id}"}
      emits: packed
  - book: {on: packed, action: carrier.book, with: {order: "${order.id}", boxes: "${size(pack)}"}}
"""
LINE = """
system: pack_line
version: 1.0.0
owner: ops_lead
triggers:
  - begin: {source: manual, schema: ./line.json}
decisions:
  - measure: {inputs: [line], table: [{when: line.count > 9, then: big}, {else: true, then: small}], emits: sized}
execution:
  - check:
      on: sized
      when: measure.branch == 'big'
      action: oms.update
      with: {order: "${order}"}
      checkpoint: {approval: [finance], deadline: 2h, overdue: deny}
  - box: {on: sized, action: depot.pack, with: {sku: "${line.sku}"}, retries: 1}
"""
SCHEMA = """{"type": "object", "required": ["line", "order"], "properties": {
  "line": {"type": "object", "required": ["sku", "count"]}, "order": {"type": "string"}}}"""
FILES = {"line.json": SCHEMA}


def lines(*counts: int) -> list[dict[str, Any]]:
    return [{"sku": f"S-{number}", "count": count} for number, count in enumerate(counts, 1)]


def begun(shops: Open, *counts: int, faults: Any = None, **fields: Any) -> tuple[Workspace, str]:
    shop = shops(SHIP, LINE, files=FILES, faults=faults)
    return shop, order(shop, "A-1", lines=lines(*counts), asked_by="shop_7", **fields)


def inner(shop: Workspace, index: int = 0) -> Case:
    """Return a case that the step began, by its place in the list."""
    found = [one for one in shop.ledger.find(system="pack_line", limit=1000) if one.facts.origin]
    return next(one for one in found if one.facts.origin and one.facts.origin.index == index)


def rest(shop: Workspace) -> None:
    """Move all that is due now, and what that makes due."""
    while pump(shop):
        pass


def say(shop: Workspace, one: Case, person: str = "fin_1", verdict: Any = "approve") -> Outcome:
    digest = one.facts.gates["check"].digest
    return answer(shop, Answer(one.id, "check", digest, person, verdict, "page", "seen"))


def test_each_item_is_a_case_and_the_step_goes_on_when_all_have_ended(shops: Open) -> None:
    shop, one = begun(shops, 1, 2, 3)
    drain(shop)
    assert case(shop, one).state == "completed"
    assert sorted(record.args["sku"] for record in outside(shop, "depot", "pack")) == ["S-1", "S-2", "S-3"]
    (booked,) = outside(shop, "carrier", "book")
    assert booked.args == {"order": "A-1", "boxes": 3}
    result = case(shop, one).facts.steps["pack"].result
    assert [item["case"] for item in result] == [inner(shop, index).id for index in range(3)]
    assert all(item["steps"]["box"]["id"].startswith("PACK-") for item in result)
    (record,) = bodies(shop, one, Kind.CLOSED)
    assert record["cases"] == {"pack": [inner(shop, index).id for index in range(3)]}
    check_books(shop)


def test_while_they_are_under_way_the_case_rests_and_nobody_holds_it(shops: Open) -> None:
    shop, one = begun(shops, 1, 20)
    rest(shop)
    waits = case(shop, one)
    assert (waits.state, waits.due_at, waits.claim) == ("waiting_retry", None, None)
    assert waits.reason == "pack waits for 1 of its 2 cases"
    assert inner(shop, 1).state == "awaiting_human"
    assert not outside(shop, "carrier")


def test_a_checkpoint_inside_waits_for_its_people_alone(shops: Open) -> None:
    shop, one = begun(shops, 1, 20, 30)
    drain(shop, until=lambda: inner(shop, 2).state == "awaiting_human")
    assert len(outside(shop, "depot", "pack")) == 1  # its neighbours wait for nobody
    assert isinstance(say(shop, inner(shop, 1)), Settled)
    rest(shop)
    assert case(shop, one).reason == "pack waits for 1 of its 3 cases"
    assert isinstance(say(shop, inner(shop, 2)), Settled)
    drain(shop)
    assert case(shop, one).state == "completed"
    check_books(shop)


def test_whoever_asked_for_the_order_clears_nothing_inside(shops: Open) -> None:
    shop = shops(SHIP, LINE, files=FILES)
    order(shop, "A-1", lines=lines(20), asked_by="fin_1")
    rest(shop)
    refused = say(shop, inner(shop), "fin_1")
    assert isinstance(refused, Refused)
    assert "asked for it" in refused.why
    assert isinstance(say(shop, inner(shop), "fin_2"), Settled)


def test_a_denial_inside_takes_the_case_back_and_hands_it_to_its_owner(shops: Open) -> None:
    shop, one = begun(shops, 20, 1)
    drain(shop, until=lambda: inner(shop).state == "awaiting_human")
    assert isinstance(say(shop, inner(shop), verdict="deny"), Settled)
    drain(shop)
    ended = case(shop, one)
    assert ended.state == "handed_off"
    assert ended.reason is not None
    assert ended.reason.startswith(
        f"item 1 of 2 ended handed off (case {inner(shop).id}): check was denied by fin_1"
    )
    assert [record.undone for record in outside(shop, "erp", "post")] == [True]
    assert not outside(shop, "carrier")
    check_books(shop)


def test_what_is_given_up_inside_is_redriven_there_and_the_case_goes_on(shops: Open) -> None:
    shop, one = begun(
        shops, 1, 2, faults={"depot": ["{operation: pack, when: \"args.sku == 'S-2'\", answer: fail}"]}
    )
    drain(shop)
    waits = case(shop, one)
    assert (waits.state, waits.due_at) == ("awaiting_human", None)
    assert waits.reason is not None
    assert waits.reason.startswith(f"pack waits for {inner(shop, 1).id}, given up: ")
    write_environment(shop.settings.home.parent, files=FILES)
    shop = shops(again=True, clock=shop.clock)
    redrive(shop, inner(shop, 1).id, by="lead_1", reason="mended")
    assert case(shop, one).state == "waiting_retry"
    drain(shop)
    assert case(shop, one).state == "completed"
    assert sorted(record.args["sku"] for record in outside(shop, "depot", "pack")) == ["S-1", "S-2"]
    check_books(shop)


def test_what_gave_up_inside_can_be_let_go(shops: Open) -> None:
    """Nobody can mend it any more; what it waited for is put away, and the case fails and takes back as it says."""
    faults = {"depot": ["{operation: pack, when: \"args.sku == 'S-2'\", answer: fail}"]}
    shop, one = begun(shops, 1, 2, faults=faults)
    drain(shop)
    assert case(shop, one).state == "awaiting_human"
    cancel(shop, inner(shop, 1).id, by="lead_1", reason="S-2 is not made any more")
    drain(shop)
    assert case(shop, one).state == "dead_lettered"
    assert "S-2 is not made any more" in str(case(shop, one).reason)
    check_books(shop)


def test_what_is_cancelled_inside_fails_the_step_and_a_redrive_begins_only_that_anew(shops: Open) -> None:
    shop, one = begun(shops, 1, 20)
    rest(shop)
    cancel(shop, inner(shop, 1).id, by="lead_1", reason="not wanted")
    drain(shop)
    assert case(shop, one).state == "dead_lettered"
    redrive(shop, one, by="lead_1", reason="wanted after all")
    rest(shop)
    again = [
        found for found in shop.ledger.find(system="pack_line", limit=10) if found.state == "awaiting_human"
    ]
    assert len(again) == 1
    assert isinstance(say(shop, again[0]), Settled)
    drain(shop)
    assert case(shop, one).state == "completed"
    assert sorted(record.args["sku"] for record in outside(shop, "depot", "pack")) == ["S-1", "S-2"]
    check_books(shop)


def test_an_empty_list_begins_nothing_and_the_step_is_done(shops: Open) -> None:
    shop, one = begun(shops)
    drain(shop)
    assert case(shop, one).state == "completed"
    assert case(shop, one).facts.steps["pack"].result == []


def test_what_does_not_fit_the_runbook_begins_none_of_its_cases(shops: Open) -> None:
    shop = shops(SHIP, LINE, files=FILES)
    one = order(shop, "A-1", lines=[*lines(1), {"sku": "S-2"}], asked_by="shop_7")
    drain(shop)
    assert case(shop, one).state == "dead_lettered"
    assert "item 2 of pack cannot be handed to pack_line: line: does not satisfy 'required'" in str(
        case(shop, one).reason
    )
    assert not shop.ledger.find(system="pack_line", limit=10)


def test_what_is_no_list_or_too_long_is_said(shops: Open) -> None:
    shop = shops(SHIP, LINE, files=FILES)
    one = order(shop, "A-1", lines="none", asked_by="shop_7")
    two = order(shop, "A-2", lines=lines(*range(501)), asked_by="shop_7")
    drain(shop)
    assert "foreach of pack comes to no list, but 'none'" in str(case(shop, one).reason)
    assert "foreach of pack comes to 501 items" in str(case(shop, two).reason)


def test_cases_that_would_carry_too_much_together_are_not_begun(shops: Open) -> None:
    """Without `with`, each carries the whole payload: a list of hundreds would be written hundreds of times."""
    whole = SHIP.replace('      with: {line: "${line}", order: "${order.id}"}\n', "")
    shop = shops(whole, LINE, files={"line.json": '{"properties": {"line": {}, "order": {}}}'})
    one = order(shop, "A-1", lines=lines(*[1] * 300), note="x" * 4000)
    drain(shop)
    assert "pack would begin 300 cases" in str(case(shop, one).reason)
    assert "say in `with:` what each of them needs" in str(case(shop, one).reason)
    assert not shop.ledger.find(system="pack_line", limit=10)


def test_a_cancelled_case_hears_no_more_of_what_it_began(shops: Open) -> None:
    shop, one = begun(shops, 20)
    rest(shop)
    cancel(shop, one, by="lead_1", reason="not wanted")
    say(shop, inner(shop))
    drain(shop)
    assert inner(shop).state == "completed"
    assert case(shop, one).state == "cancelled"
    assert Kind.HEARD not in kinds(shop, one)
    check_books(shop)


WHOLE = (
    SHIP.replace("      foreach: order.lines\n      as: line\n", "")
    .replace(
        'with: {line: "${line}", order: "${order.id}"}',
        'with: {line: "${order.lines[0]}", order: "${order.id}"}\n'
        "      critical: true\n      checkpoint: {approval: [ops_lead], remind: 15m}",
    )
    .replace("size(pack)", "pack.decisions.measure.branch == 'big' ? 2 : 1")
)


def approve(shop: Workspace, one: str, person: str = "lead_1", digest: str = "") -> Outcome:
    digest = digest or case(shop, one).facts.gates["pack"].digest
    return answer(shop, Answer(one, "pack", digest, person, "approve", "page", "seen"))


def test_a_runbook_behind_a_checkpoint_begins_when_it_is_cleared_and_not_before(shops: Open) -> None:
    shop = shops(WHOLE, LINE, files=FILES)
    one = order(shop, "A-1", lines=lines(4), asked_by="shop_7")
    rest(shop)
    shown = case(shop, one).facts.gates["pack"].shown
    assert shown["action"] == "runbook.pack_line"
    assert shown["args"] == {"line": {"count": 4, "sku": "S-1"}, "order": "A-1"}
    assert shown["target"] == {"use": "runbook", "spec": shop.systems["pack_line"].digest}
    assert not shop.ledger.find(system="pack_line", limit=10)
    assert isinstance(approve(shop, one), Settled)
    drain(shop)
    (booked,) = outside(shop, "carrier", "book")
    assert booked.args["boxes"] == 1
    check_books(shop)


def test_a_runbook_that_changes_before_it_begins_is_asked_about_again(shops: Open) -> None:
    shop = shops(WHOLE, LINE, files=FILES)
    one = order(shop, "A-1", lines=lines(4), asked_by="shop_7")
    rest(shop)
    first = case(shop, one).facts.gates["pack"]
    approve(shop, one)
    shop = shops(WHOLE, LINE.replace("retries: 1", "retries: 2"), files=FILES, clock=shop.clock)
    rest(shop)
    assert not shop.ledger.find(system="pack_line", limit=10)
    again = case(shop, one).facts.gates["pack"]
    assert (again.request, list(again.changed)) == (2, ["target.spec"])
    assert isinstance(approve(shop, one, digest=first.digest), Refused)
    approve(shop, one)
    drain(shop)
    assert case(shop, one).state == "completed"


def test_a_runbook_that_changes_after_it_was_begun_runs_as_it_was_cleared(shops: Open) -> None:
    shop = shops(WHOLE, LINE, files=FILES)
    one = order(shop, "A-1", lines=lines(4), asked_by="shop_7")
    rest(shop)
    cleared = shop.systems["pack_line"].digest
    approve(shop, one)
    advance(grab(shop))
    assert inner(shop).state == "open"
    other = LINE.replace("action: depot.pack", "action: depot.pick").replace(", retries: 1", "")
    shop = shops(WHOLE, other, files=FILES, clock=shop.clock)
    assert shop.systems["pack_line"].digest != cleared
    drain(shop)
    assert (inner(shop).state, inner(shop).digest) == ("completed", cleared)
    assert (len(outside(shop, "depot", "pack")), len(outside(shop, "depot", "pick"))) == (1, 0)
    check_books(shop)


def test_cases_that_end_at_the_same_moment_are_all_heard_of(shops: Open) -> None:
    shop, one = begun(shops, *[20] * 24)
    rest(shop)
    cases = [inner(shop, index) for index in range(24)]
    with ThreadPoolExecutor(8) as pool:
        ends = list(pool.map(lambda inner: cancel(shop, inner.id, by="lead_1", reason="not wanted"), cases))
    assert len(ends) == 24
    heard = bodies(shop, one, Kind.HEARD)
    assert sorted(body["index"] for body in heard) == list(range(24))
    assert case(shop, one).due_at is not None
    check_books(shop)


def test_a_runbook_on_hold_is_not_begun(shops: Open) -> None:
    shop = shops(SHIP, LINE, files=FILES)
    holds.place(shop, "runbook.pack_line", by="lead_1", reason="stocktaking")
    one = order(shop, "A-1", lines=lines(1), asked_by="shop_7")
    rest(shop)
    assert "runbook.pack_line is on hold" in str(case(shop, one).reason)
    holds.release(shop, "runbook.pack_line", by="lead_1", reason="over")
    shop.look_again()
    drain(shop)
    assert case(shop, one).state == "completed"


def test_a_critical_case_begins_critical_ones(shops: Open) -> None:
    shop = shops(
        SHIP.replace("idempotency: order.id,", "idempotency: order.id, critical: true,"), LINE, files=FILES
    )
    order(shop, "A-1", lines=lines(20), asked_by="shop_7")
    rest(shop)
    assert inner(shop).rank == 0


def test_the_ledger_itself_lets_no_runbook_begin_before_its_checkpoint(shops: Open) -> None:
    shop = shops(WHOLE, LINE, files=FILES)
    one = order(shop, "A-1", lines=lines(4), asked_by="shop_7")
    rest(shop)
    digest = case(shop, one).facts.gates["pack"].digest
    for clearance in ({}, {"clearance": digest}):
        entry = Entry(Kind.BRANCHED, {"step": "pack", "key": "k", "cases": [], **clearance})
        assert shop.ledger.write([Change(one, (entry,))]).lost == {one}


def test_many_cases_hand_up_no_more_than_the_step_can_hold(shops: Open) -> None:
    line = LINE.replace("action: depot.pack", "action: oms.order")
    shop = shops(SHIP, line.replace('sku: "${line.sku}"', 'order: "${line.sku + line.sku}"'), files=FILES)
    for name in ("S", "T" * 5000):  # the first is small; the second comes back in the answer of the far side
        many = [{"sku": name, "count": 1}] * 130
        one = order(shop, f"A-{name[0]}", lines=many, asked_by="shop_7")
        drain(shop)
        results = case(shop, one).facts.steps["pack"].result
        assert [result.get("too_large", False) for result in results] == [name != "S"] * 130
        assert all(result["case"] for result in results)
