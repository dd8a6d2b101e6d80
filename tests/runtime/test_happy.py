"""A case that meets no trouble, and the same event again."""

from __future__ import annotations

from openclaw_dagster.store.entries import Kind

from .conftest import Open
from .kit import bodies, case, check_books, drain, kinds, order, outside, send


def test_an_order_is_booked_once_and_its_case_says_how(shops: Open) -> None:
    shop = shops()
    one = order(shop, "A-1")
    drain(shop)
    assert case(shop, one).state == "completed"
    assert [record.args["order"] for record in outside(shop)] == [{"id": "A-1"}]
    assert kinds(shop, one) == [
        Kind.OPENED, Kind.CLAIMED, Kind.STARTED, Kind.DECIDED, Kind.BEGUN, Kind.COMPLETED, Kind.CLOSED,
    ]  # fmt: skip
    (closed,) = bodies(shop, one, Kind.CLOSED)
    assert closed == {
        "decisions": {"pick": "book"},
        "steps": {"book": "completed"},
        "effects": [f"{one}:book:1"],
    }
    check_books(shop)


def test_the_same_event_twice_is_one_case(shops: Open) -> None:
    shop = shops()
    one = order(shop, "A-1")
    again = send(shop, {"order": {"id": "A-1"}})
    assert again.duplicate
    assert again.case_id == one
    drain(shop)
    assert send(shop, {"order": {"id": "A-1"}}).case_id == one
    drain(shop)
    assert len(outside(shop)) == 1


def test_like_events_take_the_same_path(shops: Open) -> None:
    shop = shops()
    cases = [order(shop, f"A-{number}") for number in range(3)]
    drain(shop)
    ways = {tuple(kinds(shop, one)) for one in cases}
    outputs = {tuple(str(body["output"]) for body in bodies(shop, one, Kind.DECIDED)) for one in cases}
    assert len(ways) == len(outputs) == 1
