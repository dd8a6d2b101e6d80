"""Holds: a system or an action is paused and released by a person, and nothing is lost by it."""

from __future__ import annotations

import time

import pytest

from openclaw_dagster.runtime import holds
from openclaw_dagster.runtime.workspace import FRESH
from openclaw_dagster.store.entries import Kind

from .conftest import Open
from .kit import bodies, case, check_books, drain, grab, order, outside, pump


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
    from openclaw_dagster.runtime.advance import advance

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
