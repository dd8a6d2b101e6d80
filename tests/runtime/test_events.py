"""Events that cases emit, and the systems that hear them."""

from __future__ import annotations

from pathlib import Path

import pytest

from openclaw_dagster.runtime import operations
from openclaw_dagster.runtime.advance import advance
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.entries import Kind

from .conftest import Open
from .kit import DISPATCH, LAYERS, bodies, case, check_books, clock_of, drain, grab, order, outside, reopen

SPEAKER = DISPATCH.replace("retries: 3", "retries: 3, emits: booked")


def listener(name: str = "billing", when: str = "") -> str:
    condition = f', when: "{when}"' if when else ""
    return f"""
system: {name}
version: 1.0.0
triggers:
  - heard: {{source: event, of: dispatch.booked{condition}}}
decisions:
  - bill: {{inputs: [order, event], table: [{{else: true, then: post}}], emits: billed}}
execution:
  - post: {{on: billed, action: erp.post, with: {{order: "${{order.id}}"}}}}
"""


def heard(shop: Workspace, name: str = "billing") -> list[Case]:
    return shop.ledger.find(system=name)


def test_an_event_opens_a_case_in_each_system_that_listens(shops: Open) -> None:
    shop = shops(SPEAKER, listener(), listener("crm_sync"))
    one = order(shop, "A-1")
    drain(shop)
    for name in ("billing", "crm_sync"):
        (other,) = heard(shop, name)
        assert other.state == "completed"
        event = other.facts.decisions["bill"].inputs["event"]
        assert (event["name"], event["case"], event["key"]) == ("dispatch.booked", one, "A-1")
        assert event["output"]["id"] == "BK-1"
    assert len(outside(shop, "erp", "post")) == 2
    check_books(shop)


def test_a_condition_that_is_false_opens_no_case(shops: Open) -> None:
    shop = shops(SPEAKER, listener(when="order.value > 10"))
    order(shop, "A-1", value=5)
    order(shop, "A-2", value=50)
    drain(shop)
    assert [one.state for one in heard(shop)] == ["completed"]


def test_a_step_that_is_played_again_emits_once(shops: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = shops(SPEAKER, listener(), faults={"carrier": ["{operation: book, answer: lose, times: 1}"]})
    order(shop, "A-1")
    # two workers at the same case: the first wakes up after the second has finished
    sleeper = grab(shop, system="dispatch")
    clock_of(shop).advance(60_000)
    drain(shop)
    advance(sleeper)
    assert sleeper.lost
    drain(shop)
    assert len(heard(shop)) == 1
    assert len(outside(shop, "erp", "post")) == 1
    check_books(shop)


def test_a_condition_without_value_is_loud_and_safe(
    shops: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The speaker goes on; the listener's case fails before anything is done, and goes on when it is mended."""
    shop = shops(SPEAKER, listener(when="order.value > 10"))
    one = order(shop, "A-1")
    drain(shop)
    assert case(shop, one).state == "completed"
    (other,) = heard(shop)
    assert other.state == "dead_lettered"
    assert other.facts.failing == "heard"
    assert "The condition of billing.heard has no value for this payload" in (other.reason or "")
    assert "billing.heard cannot judge" in caplog.text
    assert outside(shop, "erp") == []

    (tmp_path / "specs" / "s1.claw").write_text(
        listener(when="!has(order.value) || order.value > 10") + LAYERS
    )
    mended = shops(again=True, clock=shop.clock)
    operations.redrive(mended, other.id, by="ann", reason="the condition is guarded now")
    drain(mended)
    assert case(mended, other.id).state == "completed"
    assert len(outside(mended, "erp", "post")) == 1
    check_books(mended)


def test_a_condition_that_turns_out_false_ends_the_case(shops: Open, tmp_path: Path) -> None:
    shop = shops(SPEAKER, listener(when="order.value > 10"))
    order(shop, "A-1")
    drain(shop)
    (other,) = heard(shop)
    (tmp_path / "specs" / "s1.claw").write_text(listener(when="has(order.value)") + LAYERS)
    mended = shops(again=True, clock=shop.clock)
    operations.redrive(mended, other.id, by="ann", reason="the condition is guarded now")
    drain(mended)
    assert case(mended, other.id).state == "cancelled"
    assert case(mended, other.id).reason == "the condition of heard is false for its event"
    check_books(mended)


def test_two_steps_that_emit_the_same_event_are_two_events(shops: Open) -> None:
    text = SPEAKER + "  - pack: {on: picked, action: depot.pack, needs: [book], emits: booked}\n"
    shop = shops(text, listener())
    order(shop, "A-1")
    drain(shop)
    assert len(heard(shop)) == 2
    check_books(shop)


def test_an_answer_of_a_person_emits_what_the_step_would_have(shops: Open) -> None:
    text = SPEAKER.replace("carrier.book", "depot.pick")
    shop = shops(text, listener(), faults={"depot": ["{operation: pick, answer: lose, times: 1}"]})
    one = order(shop, "A-1")
    drain(shop)
    assert heard(shop) == []
    operations.answer(shop, one, by="ann", took_place=True, result={"id": "P-1"}, reason="seen")
    drain(shop)
    (other,) = heard(shop)
    assert other.facts.decisions["bill"].inputs["event"]["output"] == {"id": "P-1"}
    assert bodies(shop, one, Kind.ANSWERED)[0]["emits"] == "booked"
    check_books(shop)


def test_the_listener_is_found_by_a_process_that_starts_later(shops: Open, tmp_path: Path) -> None:
    shop = shops(SPEAKER)
    order(shop, "A-1")
    (tmp_path / "specs" / "s1.claw").write_text(listener() + LAYERS)
    later = reopen(tmp_path, str(shop.settings.database), clock=shop.clock)
    drain(later)
    assert [one.state for one in heard(later)] == ["completed"]
    later.close()
