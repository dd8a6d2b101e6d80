"""`claw test`: the scenarios of the example systems come out as they say, and only then."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from openclaw_dagster.clock import DAY
from openclaw_dagster.spec.schema import json_schema

from .conftest import SPECS, Claw

EXAMPLES = ("customer_escalation", "inventory_shortage", "recall", "recall_lot", "stalled_orders")
#: The longest (s) that a scenario may take, however many days it covers; a busy machine gets six tries.
LONGEST = 1.0

#: For each word of a scenario: where it stands, what it says, and what makes the scenario fail in its place.
WORDS = {
    "given": (
        "one_person_twice_counts_once",
        "given: {order_stalled: ./fixtures/orders/lost.json}",
        "given: {order_stalled: ./fixtures/orders/carrier.json}",
    ),
    "do": (
        "a_refund_is_never_skipped",
        "do:\n        - {at: 1m, skip: refund, as: lead_1, reason: it takes too long, refused: true}",
        "do:\n        - {at: 1m, deny: refund, as: lead_1, reason: it takes too long}",
    ),
    "until": ("nobody_looks_into_it_and_it_goes_to_the_owner", "until: 2d", "until: 2h"),
    "faults": (
        "a_lost_answer_is_asked_about_and_nothing_is_booked_twice",
        "operation: book, answer: lose", "operation: book, answer: refuse",
    ),
    "expect": ("silence_never_approves", "{refund: waiting,", "{refund: completed,"),
    "at": ("after_the_deadline_the_head_may_answer_too", "at: 5h, approve", "at: 3h, approve"),
    "approve": (
        "an_incomplete_form_approves_nothing",
        "at: 1m, approve: refund, as: fin_1, refused", "at: 1m, deny: refund, as: fin_1, refused",
    ),
    "acknowledge": (
        "a_lost_answer_is_asked_about_and_nothing_is_booked_twice",
        "acknowledge: rebook, as: agent_2}", "deny: rebook, as: agent_2}",
    ),
    "deny": ("a_no_takes_back_what_was_done_and_hands_it_to_the_owner", "deny: refund", "hold: erp.refund"),
    "skip": (
        "in_an_outage_the_lead_may_leave_the_booking_out", "at: 5m, skip: rebook", "at: 5m, hold: carrier.book",
    ),
    "hold": ("while_refunds_are_on_hold_none_is_paid", "hold: erp.refund", "hold: crm.note"),
    "release": ("released_it_is_paid", "release: erp.refund", "release: crm.note"),
    "send": (
        "two_people_agree_and_it_is_paid_once", "{at: 14m, send: {order_stalled: ./fixtures/orders/lost.json}}",
        "{at: 14m, send: {order_stalled: ./fixtures/orders/wrong_address.json}}",
    ),
    "as": (
        "two_people_agree_and_it_is_paid_once",
        "at: 12m, approve: refund, as: lead_1", "at: 12m, approve: refund, as: fin_1",
    ),
    "form": (
        "two_people_agree_and_it_is_paid_once",
        "as: fin_1, form: {reason: lost, note: The carrier says so.}", "as: fin_1, form: {reason: theft, note: x}",
    ),
    "refused": ("a_refund_is_never_skipped", "takes too long, refused: true", "takes too long, refused: false"),
}  # fmt: skip


def _scenario(text: str, name: str) -> tuple[int, int]:
    begin = text.index(f"  - {name}:\n")
    end = text.find("\n  - ", begin + 1)
    return begin, end if end > 0 else len(text)


def changed(project: Path, name: str, old: str, new: str) -> None:
    """Change one scenario of the stalled orders."""
    file = project / "claw_specs" / "stalled_orders.claw"
    text = file.read_text()
    begin, end = _scenario(text, name)
    assert old in text[begin:end]
    file.write_text(text[:begin] + text[begin:end].replace(old, new, 1) + text[end:])


def test_the_scenarios_of_the_examples_come_out_as_they_say(claw: Claw) -> None:
    done = claw("test", "--json")
    assert done.code == 0, done.out
    told = done.json["scenarios"]
    assert {one["system"] for one in told} == set(EXAMPLES)
    assert len(told) > 30
    long = [one for one in told if one["virtual_ms"] >= 2 * DAY]
    assert len(long) >= 5
    for one in long:
        took = [one["seconds"]]
        while took[-1] >= LONGEST and len(took) < 6:
            (again,) = claw("test", "--scenario", one["name"], "--json").json["scenarios"]
            took.append(again["seconds"])
        assert took[-1] < LONGEST, one["name"]


def test_each_example_is_played_alone_as_in_company(claw: Claw) -> None:
    every = {one["name"]: one["story"] for one in claw("test", "--json").json["scenarios"]}
    for name in EXAMPLES:
        told = claw("test", f"claw_specs/{name}.claw", "--json").json["scenarios"]
        assert told
        assert {one["name"]: one["story"] for one in told}.items() <= every.items()


@pytest.mark.parametrize("word", WORDS)
def test_a_word_of_a_scenario_takes_effect(claw: Claw, project: Path, word: str) -> None:
    name, old, new = WORDS[word]
    assert claw("test", "--scenario", name).code == 0
    changed(project, name, old, new)
    done = claw("test", "--scenario", name, "--json")
    assert done.code == 1, done.out
    assert done.json["scenarios"][0]["differences"]


def test_every_word_is_tried_here() -> None:
    defs = json_schema()["$defs"]
    words = {*defs["Scenario"]["properties"], *defs["Deed"]["properties"]}
    assert words - {"reason"} == set(WORDS)  # the reason is in the next test


def test_the_reason_of_a_deed_is_in_the_story(claw: Claw) -> None:
    name = "a_no_takes_back_what_was_done_and_hands_it_to_the_owner"
    (told,) = claw("test", "--scenario", name, "--json").json["scenarios"]
    assert any("checkpoint.answered  refund  fin_2  the parcel was found" in line for line in told["story"])
    assert not any("as the scenario says" in line for line in told["story"] if "fin_2" in line)


@pytest.mark.parametrize(
    ("name", "old", "new", "what", "found"),
    [
        ("silence_never_approves", "case: awaiting_human", "case: completed", "case", "awaiting_human"),
        ("silence_never_approves", "[oms.hold, erp.post]", "[oms.hold]", "effects", ["oms.hold", "erp.post"]),
        ("silence_never_approves", "refund: waiting", "runbook: look", "runbook", "refund"),
        (
            "an_address_is_corrected_without_asking_anybody",
            "{branch: correct, impact: low}", "{impact: high}", "runbook", {"impact": "low"},
        ),
        (
            "nobody_looks_into_it_and_it_goes_to_the_owner",
            "residual: {look_into_it: ops_agent}", "residual: {}", "residual", {"look_into_it": "ops_agent"},
        ),
        ("silence_never_approves", "refund: waiting", "tell_customer: completed", "tell_customer", "not_reached"),
        (
            "released_it_is_paid", "note: Seen.}}", "note: Seen.}, refused: true}",
            "line 3 of do, approve refund as fin_2", "accepted",
        ),
    ],
)  # fmt: skip
def test_what_is_expected_otherwise_is_a_difference(
    claw: Claw, project: Path, name: str, old: str, new: str, what: str, found: object
) -> None:
    changed(project, name, old, new)
    done = claw("test", "--scenario", name, "--json")
    assert done.code == 1
    (difference,) = done.json["scenarios"][0]["differences"]
    assert (difference["what"], difference["found"]) == (what, found)


def test_what_did_not_come_out_is_told_with_its_story(claw: Claw, project: Path) -> None:
    name = "one_person_twice_counts_once"
    changed(project, name, "refused: true", "refused: false")
    changed(project, name, "refund: waiting", "refund: completed")
    done = claw("test", "claw_specs/stalled_orders.claw")
    assert done.code == 1
    assert f"FAIL  stalled_orders  {name}  (12 min 0 s in " in done.out
    line = "line 2 of do, approve refund as fin_1: expected accepted, found fin_1 has answered already"
    assert line in done.out
    assert "      refund: expected completed, found waiting\n" in done.out
    assert "               10m  checkpoint.answered  refund  fin_1" in done.out
    assert "ok    stalled_orders  a_refund_is_never_skipped" in done.out
    assert done.out.splitlines()[-1].endswith(": 1 did not come out as said")
    assert "\x1b" not in done.out


def test_an_event_that_is_not_taken_opens_nothing(claw: Claw, project: Path) -> None:
    file = project / "claw_specs" / "stalled_orders.claw"
    text = file.read_text().replace(
        "      idempotency: order.id\n", "      idempotency: order.id\n      when: order.value > 900.0\n", 1
    )
    file.write_text(text)
    changed(
        project,
        "silence_never_approves",
        "{refund: waiting, case: awaiting_human, effects: [oms.hold, erp.post]}",
        "{case: not_opened, refund: not_reached, effects: [], residual: {}}",
    )
    assert claw("test", "--scenario", "silence_never_approves").code == 0
    file.write_text(file.read_text().replace("order.value > 900.0", "order.weight > 1.0"))
    done = claw("test", "--scenario", "silence_never_approves", "--json")
    (difference,) = done.json["scenarios"][0]["differences"]
    assert difference["what"] == "given, order_stalled"
    assert "has no value for this payload" in difference["found"]


def test_it_goes_the_same_way_each_time(claw: Claw) -> None:
    name = "a_crm_that_is_away_ends_with_the_dead_letters"  # its waits have some chance in them
    random.seed(1)
    first = claw("test", "-s", name, "--json").json["scenarios"][0]["story"]
    random.seed(2)
    chance = random.getstate()
    second = claw("test", "-s", name, "--json").json["scenarios"][0]["story"]
    assert random.getstate() == chance
    assert sum("step.retry" in line for line in first) == 3
    assert first == second


def test_nothing_of_the_project_is_touched(claw: Claw, project: Path) -> None:
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    assert claw("test").code == 0
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before


def test_a_file_that_is_not_right_is_refused_before_anything_is_played(claw: Claw, project: Path) -> None:
    changed(project, "silence_never_approves", "refund: waiting", "refnd: waiting")
    done = claw("test")
    assert done.code == 2
    assert "CLAW040 'refnd' is no step or decision" in done.out
    assert "did you mean refund?" in done.out
    assert "ok " not in done.out
    (problem,) = claw("test", "--json").json["diagnostics"]
    assert (problem["code"], problem["file"]) == ("CLAW040", "claw_specs/stalled_orders.claw")


def test_who_is_none_of_the_people_is_found_first(claw: Claw, project: Path) -> None:
    changed(
        project, "silence_never_approves", "until: 30d", "do: [{deny: refund, as: fin_3}]\n      until: 30d"
    )
    assert claw("check").code == 0  # who people are is said by an environment
    done = claw("test")
    assert done.code == 2
    assert "CLAW039 'fin_3' is none of the people of this environment" in done.out
    assert "did you mean fin_" in done.out


def test_a_role_that_the_environment_does_not_have_is_found_first(claw: Claw, project: Path) -> None:
    file = project / "claw_specs" / "environments" / "small.yaml"
    text = (file.parent / "development.yaml").read_text()
    file.write_text(text.replace("  ops_head: {people: [head_1]}\n", ""))
    done = claw("test", "--environment", "small")
    assert done.code == 2
    assert "the checkpoint of stalled_orders.refund names the role 'ops_head'" in done.out
    assert claw("--environment", "small", "test").out == done.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--scenario", "silence_never_aproves"), "did you mean silence_never_approves?"),
        (("--environment", "developmnt"), "did you mean development?"),
        (("claw_specs/dispatch.claw",), "there is no scenario to play"),
        (("claw_specs/nothing.claw",), "does not exist"),
    ],
)
def test_an_argument_that_is_wrong(claw: Claw, words: tuple[str, ...], said: str) -> None:
    done = claw("test", *words)
    assert done.code == 2
    plain = " ".join((done.out + done.err).replace("│", " ").split())
    assert said in plain


@pytest.mark.parametrize("name", [name for name in EXAMPLES if not name.startswith("recall")])
def test_an_example_shows_what_a_runbook_needs(claw: Claw, name: str) -> None:
    text = (SPECS / f"{name}.claw").read_text()
    for word in ("owner", "table", "checkpoint", "critical: true", "undo", "effect: irreversible", "tests"):
        assert word in text
    (told,) = claw("check", f"claw_specs/{name}.claw", "--json").json["systems"]
    assert told["scenarios"] >= 9


def test_the_examples_are_of_several_teams_and_begin_in_several_ways() -> None:
    texts = [(SPECS / f"{name}.claw").read_text() for name in EXAMPLES]
    assert len({text.partition("owner: ")[2].split("\n")[0] for text in texts}) == 3
    for source in ("webhook", "schedule", "event", "manual"):
        assert any(f"source: {source}" in text for text in texts)


def test_what_must_be_shown_is_among_the_scenarios() -> None:
    names = json.dumps([(SPECS / f"{name}.claw").read_text() for name in EXAMPLES])
    for said in (
        "two_people_agree", "one_person_twice", "who_reported_it_cannot_approve", "a_no_takes_back", "after_the_deadline",
        "may_leave_the_booking_out", "without_an_outage", "a_lost_answer", "on_hold", "released",
        "in_two_days_the_question_expires", "has_expired",
    ):  # fmt: skip
        assert said in names


ALL_WAYS = """\
system: ways
version: 1.0.0
triggers:
  - called: {source: webhook, idempotency: order.id}
  - by_hand: {source: manual}
  - nightly: {source: schedule, cron: "0 3 * * *"}
  - given_up: {source: event, of: stalled_orders.case_handed_off}
  - backlog: {source: condition, read: wms.stock, with: {sku: SKU-7}, when: value.short > 10}
  - stuck: {source: queue, queue: nats://ORDERS/orders.stuck}
decisions:
  - pick:
      on: [called, by_hand, nightly, given_up, backlog, stuck]
      inputs: [payload_kind]
      table: [{else: true, then: go}]
      emits: picked
execution:
  - note:
      on: picked
      action: crm.note
      with: {customer: C-1, text: "${WHAT}"}
data: {events: {store: event-log}}
observability: {slo: {error_rate: <1%}}
tests:
  - it_begins:
      given: {TRIGGER: FILE}
      expect: {case: completed, effects: [crm.note]}
"""


@pytest.mark.parametrize(
    ("trigger", "payload", "what"),
    [
        ("called", {"order": {"id": "A-1"}}, "order.id"),
        ("by_hand", {"order": {"id": 7}}, "string(order.id)"),
        ("nightly", None, "tick.at == '2026-01-05T09:00:00Z' ? tick.local : 1"),
        ("given_up", {"order": {"id": "A-1"}}, "event.name + event.at + order.id"),
        (
            "backlog",
            {"condition": {"value": {"short": 36}}},
            "string(condition.value.short) + condition.since",
        ),
        ("stuck", {"order": {"id": "A-1"}}, "case.key + order.id"),
    ],
)
def test_a_scenario_begins_by_every_kind_of_trigger(
    claw: Claw, project: Path, trigger: str, payload: object, what: str
) -> None:
    specs = project / "claw_specs"
    if payload is not None:
        (specs / "fixtures" / "way.json").write_text(json.dumps(payload))
    path = "./fixtures/way.json" if payload is not None else "tick"
    text = ALL_WAYS.replace("WHAT", what).replace("TRIGGER", trigger).replace("FILE", path)
    (specs / "ways.claw").write_text(text.replace("[payload_kind]", "[goodwill_from]"))
    done = claw("test", "claw_specs/ways.claw")
    assert done.code == 0, done.out
