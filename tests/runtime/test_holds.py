"""Holds: a system or an action is paused and released by a person, and nothing is lost by it."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from openclaw_dagster.adapters.outcome import Refused
from openclaw_dagster.runtime import holds
from openclaw_dagster.runtime.advance import advance
from openclaw_dagster.runtime.workspace import FRESH
from openclaw_dagster.store import rows
from openclaw_dagster.store.entries import Kind

from .conftest import Open
from .kit import DISPATCH, bodies, case, check_books, clock_of, drain, grab, kinds, order, outside, pump


def test_a_system_on_hold_takes_no_case_and_goes_on_when_released(shops: Open) -> None:
    shop = shops()
    assert holds.place(shop, "dispatch", by="ann", reason="the carrier is down")
    assert not holds.place(shop, "dispatch", by="ann", reason="twice")
    one = order(shop, "A-1")
    assert pump(shop) == 0
    assert not shop.ledger.due(["dispatch"]).systems
    assert case(shop, one).state == "open"
    assert holds.release(shop, "dispatch", by="ann", reason="it is up") == 0
    assert holds.release(shop, "dispatch", by="ann", reason="it is up") is None
    drain(shop)
    assert (case(shop, one).state, len(outside(shop))) == ("completed", 1)
    check_books(shop)


def test_a_run_under_way_begins_no_call_of_a_system_on_hold(shops: Open) -> None:
    shop = shops()
    one = order(shop, "A-1")
    batch = grab(shop)
    shop.held("dispatch")
    holds.place(shop, "dispatch", by="ann", reason="the carrier is down")
    time.sleep(FRESH)
    advance(batch)
    assert (case(shop, one).state, len(outside(shop))) == ("open", 0)
    holds.release(shop, "dispatch", by="ann", reason="it is up")
    shop.look_again()
    drain(shop)
    assert (case(shop, one).state, len(outside(shop))) == ("completed", 1)
    check_books(shop)


def test_an_action_on_hold_keeps_its_cases_until_it_is_released(shops: Open) -> None:
    shop = shops()
    holds.place(shop, "carrier.book", by="ann", reason="wrong prices")
    one = order(shop, "A-1")
    drain(shop)
    found = case(shop, one)
    assert (found.state, found.due_at, len(outside(shop))) == ("waiting_retry", None, 0)
    assert "carrier.book is on hold" in (found.reason or "")
    (held,) = bodies(shop, one, Kind.HELD)
    assert held["action"] == "carrier.book"
    assert holds.release(shop, "carrier.book", by="ann", reason="mended") == 1
    shop.look_again()
    drain(shop)
    assert (case(shop, one).state, len(outside(shop))) == ("completed", 1)
    check_books(shop)


def test_only_what_is_there_can_be_held_and_somebody_says_why(shops: Open) -> None:
    shop = shops()
    with pytest.raises(holds.NothingToHold, match="there are the systems dispatch"):
        holds.place(shop, "carrier.bok", by="ann", reason="x")
    for by, reason in (("", "x"), ("ann", " ")):
        with pytest.raises(holds.NotSaid):
            holds.place(shop, "dispatch", by=by, reason=reason)
    assert not shop.ledger.holds()


def test_a_call_in_doubt_is_asked_about_and_not_made_again_while_its_action_is_on_hold(shops: Open) -> None:
    shop = shops(faults={"carrier": ["{operation: book, answer: timeout, times: 1}"]})
    one = order(shop, "A-1")
    pump(shop)
    holds.place(shop, "carrier.book", by="ann", reason="wrong prices")
    shop.look_again()
    drain(shop)
    found = case(shop, one)
    assert (found.state, found.due_at, len(outside(shop))) == ("waiting_retry", None, 0)
    assert found.facts.steps["book"].state == "unknown"  # a hold makes nothing clearer
    assert holds.release(shop, "carrier.book", by="ann", reason="mended") == 1
    shop.look_again()
    drain(shop)
    assert (case(shop, one).state, len(outside(shop))) == ("completed", 1)
    check_books(shop)


def test_a_hold_is_no_answer_to_whether_a_call_took_place(
    shops: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker died with the call under way; that a later attempt is refused says nothing about that one."""
    shop = shops(DISPATCH.replace("carrier.book", "depot.pack"))
    one = order(shop, "A-1")
    batch = grab(shop)
    monkeypatch.setattr(shop.adapters, "call", dies)
    with pytest.raises(SystemExit):
        advance(batch)
    assert shop.ledger.orphan(str(case(shop, one).run_id), by="test") == 1
    holds.place(shop, "depot.pack", by="ann", reason="wrong prices")
    shop.look_again()
    clock_of(shop).advance(60_000)
    drain(shop)
    assert case(shop, one).due_at is None
    holds.release(shop, "depot.pack", by="ann", reason="mended")
    shop.look_again()
    monkeypatch.setattr(shop.adapters, "call", lambda _call: Refused("the key was used already"))
    drain(shop)
    assert case(shop, one).state == "awaiting_human"


def dies(_call: object) -> None:
    raise SystemExit(1)


def test_a_case_that_is_cancelled_in_the_moment_of_release_stays_cancelled(
    shops: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = shops()
    holds.place(shop, "carrier.book", by="ann", reason="wrong prices")
    one = order(shop, "A-1")
    drain(shop)
    lock = rows.lock

    def late(connection: object, ids: object) -> object:
        """Lock what was found resting, after somebody else has changed it."""
        found = lock(connection, ids)  # type: ignore[arg-type]
        return {case_id: replace(one, state="cancelled") for case_id, one in found.items()}

    monkeypatch.setattr(rows, "lock", late)
    assert holds.release(shop, "carrier.book", by="ann", reason="mended") == 0
    assert Kind.RELEASED not in kinds(shop, one)


def test_a_case_that_would_rest_for_a_hold_that_has_just_ended_goes_on(shops: Open) -> None:
    """Workers know of holds what they read half a second ago."""
    shop = shops()
    one = order(shop, "A-1")
    batch = grab(shop)
    holds.place(shop, "carrier.book", by="ann", reason="wrong prices")
    shop.look_again()
    assert shop.held("carrier.book")
    assert holds.release(shop, "carrier.book", by="ann", reason="mended") == 0
    advance(batch)
    assert kinds(shop, one)[-2:] == [Kind.HELD, Kind.RELEASED]
    shop.look_again()
    drain(shop)
    assert (case(shop, one).state, len(outside(shop))) == ("completed", 1)
    check_books(shop)
