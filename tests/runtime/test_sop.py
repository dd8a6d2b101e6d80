"""A standard operating procedure: started by an event, a schedule or the state of a queue, it goes one and the same way."""

from __future__ import annotations

from typing import Any

from openclaw_dagster.runtime.clearance import Answer, Settled, answer
from openclaw_dagster.runtime.conditions import Started, look
from openclaw_dagster.runtime.intake import arrival, tick
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.spec.triggers import ConditionTrigger, ScheduleTrigger
from openclaw_dagster.store.entries import Kind

from .conftest import Open
from .kit import bodies, case, check_books, clock_of, drain, kinds, send
from .test_conditions import DEPTH, bind

RESTOCK = """
system: restock
version: 1.0.0
owner: ops_lead
triggers:
  - shelf_empty: {source: webhook, idempotency: shelf.id}
  - nightly: {source: schedule, cron: "0 3 * * *"}
  - backlog_high: {source: condition, read: yard.depth, when: value.orders > 400, every: 1m}
decisions:
  - course:
      {on: [shelf_empty, nightly, backlog_high], inputs: [case], table: [{else: true, then: fetch}], emits: course.set}
execution:
  - pick: {on: course.set, action: depot.pick, with: {by: "${case.trigger}"}, undo: depot.unpick}
  - drive:
      on: course.set
      needs: [pick]
      action: carrier.book
      with: {order: "${case.id}"}
      critical: true
      checkpoint: {acknowledge: [ops_agent], deadline: 2h, overdue: deny}
  - pack: {on: course.set, needs: [drive], action: depot.pack, with: {by: "${case.trigger}"}}
"""
LISTENER = """
system: ledger_of_ends
version: 1.0.0
triggers:
  - ended: {source: event, of: restock.case_completed}
  - given_back: {source: event, of: restock.case_handed_off}
decisions:
  - note: {on: [ended, given_back], inputs: [event], table: [{else: true, then: note}], emits: noted}
execution:
  - write: {on: noted, action: crm.note, with: {customer: c, text: "${event.output.journal}"}}
"""


def started(shops: Open) -> tuple[Workspace, list[str]]:
    """Start it by an event, by a moment of the clock and by how much waits, and let each case go on until it asks."""
    shop = bind(shops, shops(RESTOCK, LISTENER, files={"adapters/yard.yaml": DEPTH.replace("DEPTH", "500")}))
    system = shop.system("restock")
    cases = [send(shop, {"shelf": {"id": "S-1"}}, system="restock", trigger="shelf_empty").case_id]
    nightly, backlog = system.trigger("nightly"), system.trigger("backlog_high")
    assert isinstance(nightly, ScheduleTrigger)
    assert isinstance(backlog, ConditionTrigger)
    payload, key = tick(nightly, clock_of(shop).at)
    cases.append(shop.ledger.receive([arrival(system, nightly, payload, key)])[0].case_id)
    assert isinstance(look(shop, system, backlog), Started)
    cases += [one.id for one in shop.ledger.find(system="restock") if one.trigger == "backlog_high"]
    found = [one for one in cases if one is not None]
    drain(shop, until=lambda: all(case(shop, one).state == "awaiting_human" for one in found))
    return shop, found


def acknowledge(shop: Workspace, one: str, verdict: Any = "acknowledge") -> None:
    digest = case(shop, one).facts.gates["drive"].digest
    said = answer(shop, Answer(one, "drive", digest, "agent_1", verdict, "page", "seen"))
    assert isinstance(said, Settled)


def test_it_starts_by_event_schedule_and_queue_state_and_goes_one_way(shops: Open) -> None:
    shop, cases = started(shops)
    assert [case(shop, one).trigger for one in cases] == ["shelf_empty", "nightly", "backlog_high"]
    for one in cases:
        acknowledge(shop, one)
    drain(shop)
    assert {case(shop, one).state for one in cases} == {"completed"}
    ways = [[kind for kind in kinds(shop, one) if kind is not Kind.CLAIMED] for one in cases]
    assert ways[0] == ways[1] == ways[2]
    steps = [[body["step"] for body in bodies(shop, one, Kind.BEGUN)] for one in cases]
    assert steps == [["pick", "drive", "pack"]] * 3
    check_books(shop)


def test_ten_runs_of_it_have_the_same_steps_and_checkpoints_in_the_same_order(shops: Open) -> None:
    shop = shops(RESTOCK.replace("yard.depth", "depot.weigh").replace("value.orders", "value.grams"))
    receipts = [
        send(shop, {"shelf": {"id": f"S-{n}"}}, system="restock", trigger="shelf_empty") for n in range(10)
    ]
    cases = [receipt.case_id or "" for receipt in receipts]
    drain(shop, until=lambda: all(case(shop, one).state == "awaiting_human" for one in cases))
    for one in reversed(cases):
        acknowledge(shop, one)
    drain(shop)
    told = [
        [(record.kind, (record.body or {}).get("step")) for record in shop.ledger.journal(one)]
        for one in cases
    ]
    assert all(one == told[0] for one in told)
    assert (Kind.ASKED, "drive") in told[0]
    assert (Kind.CLEARANCE, "drive") in told[0]
    check_books(shop)


def test_it_says_how_it_ended_with_a_link_to_its_journal_and_what_is_left_to_do(shops: Open) -> None:
    shop, (one, two, three) = started(shops)
    acknowledge(shop, one)
    acknowledge(shop, two, "deny")
    clock_of(shop).at += 3 * 3_600_000  # nobody ever acknowledges the third
    drain(shop)
    ends = shop.ledger.find(system="ledger_of_ends")
    told = {}
    for end in ends:
        event = shop.ledger.events([end.event_id])[end.event_id]
        said = (event.payload or {})["event"]
        told[said["case"]] = said["output"]
    assert {name: said["outcome"] for name, said in told.items()} == {
        one: "completed", two: "handed_off", three: "handed_off",
    }  # fmt: skip
    for name, said in told.items():
        assert said["journal"] == f"{shop.settings.public_url}/claw/cases/{name}"
    assert told[one]["residual"] == []
    assert told[one]["steps"] == {"pick": "completed", "drive": "completed", "pack": "completed"}
    assert told[one]["clearances"]["drive"]["by"] == ["agent_1"]
    assert told[one]["touches"] == 1
    (denied,) = told[two]["residual"]
    assert (denied["step"], denied["owner"]) == ("drive", "ops_lead")
    (silent,) = told[three]["residual"]
    assert (silent["action"], silent["owner"]) == ("acknowledge drive: nobody did in time", "ops_agent")
    assert silent["due_at"] > 0
    check_books(shop)


def test_without_a_tool_action_or_a_checkpoint_it_never_completes(shops: Open) -> None:
    shop, (one, two, three) = started(shops)
    acknowledge(shop, one)
    acknowledge(shop, two)
    file = shop.settings.specs / "environments" / "test.yaml"
    refuses = "carrier: {use: simulator, faults: [{operation: book, answer: refuse}]}"
    file.write_text(file.read_text().replace("carrier: {use: simulator, faults: []}", refuses))
    shop = shops(again=True, clock=clock_of(shop))
    clock_of(shop).at += 3 * 3_600_000  # nobody ever acknowledges the third
    drain(shop)
    states = [case(shop, name).state for name in (one, two, three)]
    assert states == ["dead_lettered", "dead_lettered", "handed_off"]
    for name in (one, two, three):
        assert "pack" not in case(shop, name).facts.steps
        assert Kind.CLOSED not in kinds(shop, name)
    assert "carrier.book refused" in (case(shop, one).reason or "")
    check_books(shop)
