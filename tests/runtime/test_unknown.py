"""Calls that nobody answered: asked about before they are made again, and never blindly again."""

from __future__ import annotations

from pathlib import Path

import pytest

from openclaw_dagster.adapters.outcome import Answered, Failed, Refused, Unknown
from openclaw_dagster.runtime import operations
from openclaw_dagster.store.entries import Kind

from .conftest import Open
from .kit import DISPATCH, bodies, case, check_books, drain, kinds, order, outside, write_environment


def action(name: str, more: str = "") -> str:
    return DISPATCH.replace("action: carrier.book", f"action: {name}{more}")


@pytest.mark.parametrize("fault", ["lose", "timeout"])
@pytest.mark.parametrize("times", [1, 3])
def test_a_booking_without_answer_is_made_exactly_once(shops: Open, fault: str, times: int) -> None:
    shop = shops(faults={"carrier": [f"{{operation: book, answer: {fault}, times: {times}}}"]})
    one = order(shop, "A-1")
    drain(shop)
    assert case(shop, one).state == "completed"
    (booked,) = outside(shop, "carrier", "book")
    assert booked.calls == 1
    asked = [body.get("found_by") for body in bodies(shop, one, Kind.COMPLETED)]
    assert asked == (["carrier.find_booking"] if fault == "lose" else [None])
    check_books(shop)


def test_a_write_that_never_comes_through_fails_after_its_attempts(shops: Open) -> None:
    shop = shops(faults={"carrier": ["{operation: book, answer: timeout}"]})
    one = order(shop, "A-1")
    drain(shop)
    assert case(shop, one).reason == (
        "carrier.book: no answer came in 4 attempts, and carrier.find_booking says that none took place"
    )
    assert outside(shop) == []


def test_verify_that_does_not_answer_is_asked_later(shops: Open) -> None:
    faults = [
        "{operation: book, answer: lose, times: 1}",
        "{operation: find_booking, answer: fail, times: 3}",
    ]
    shop = shops(faults={"carrier": faults})
    one = order(shop, "A-1")
    drain(shop)
    assert case(shop, one).state == "completed"
    assert [body["asked"] for body in bodies(shop, one, Kind.UNKNOWN)] == [0, 1, 2, 3]
    assert outside(shop, "carrier", "book")[0].calls == 1


@pytest.mark.parametrize("answer", ["fail", "refuse"])
def test_verify_that_never_tells_leaves_it_to_a_person(shops: Open, tmp_path: Path, answer: str) -> None:
    faults = ["{operation: book, answer: lose, times: 1}", f"{{operation: find_booking, answer: {answer}}}"]
    shop = shops(faults={"carrier": faults})
    one = order(shop, "A-1")
    drain(shop)
    parked = case(shop, one)
    assert parked.state == "awaiting_human"
    assert "whether carrier.book took place is not known: carrier.find_booking does not tell" in (
        parked.reason or ""
    )
    assert (parked.reason or "").endswith("(asked 6 times)")
    operations.answer(
        shop, one, by="ann", took_place=True, result={"id": "BK-1"}, reason="seen in the portal"
    )
    drain(shop)
    assert case(shop, one).state == "completed"
    assert case(shop, one).facts.steps["book"].result == {"id": "BK-1"}
    assert outside(shop, "carrier", "book")[0].calls == 1
    check_books(shop)


@pytest.mark.parametrize("fault", ["lose", "timeout"])
def test_an_idempotent_write_that_nobody_can_be_asked_about_is_sent_again(shops: Open, fault: str) -> None:
    shop = shops(action("depot.pack"), faults={"depot": [f"{{operation: pack, answer: {fault}, times: 2}}"]})
    one = order(shop, "A-1")
    drain(shop)
    assert case(shop, one).state == "completed"
    (packed,) = outside(shop, "depot")
    assert packed.key == f"{one}:book:1"
    check_books(shop)


def test_an_idempotent_write_that_never_answers_is_left_to_a_person(shops: Open) -> None:
    shop = shops(action("depot.pack"), faults={"depot": ["{operation: pack, answer: lose}"]})
    one = order(shop, "A-1")
    drain(shop)
    assert case(shop, one).state == "awaiting_human"
    assert len(bodies(shop, one, Kind.BEGUN)) == 4
    check_books(shop)


@pytest.mark.parametrize("last", [Failed("status 503"), Refused("the key was used already")])
def test_a_failure_after_an_unknown_outcome_is_no_failure(
    shops: Open, monkeypatch: pytest.MonkeyPatch, last: Failed | Refused
) -> None:
    """The first attempt may have taken place, so that nobody may say that the step failed."""
    shop = shops(action("depot.pack"))
    one = order(shop, "A-1")
    answers = [Unknown("no answer"), last, last, last, last]
    monkeypatch.setattr(shop.adapters, "call", lambda _call: answers.pop(0))
    drain(shop)
    parked = case(shop, one)
    assert parked.state == "awaiting_human"
    assert "an earlier attempt got no answer, and the last one says: depot.pack" in (parked.reason or "")


@pytest.mark.parametrize("took_place", [True, False])
def test_a_write_that_is_neither_is_never_sent_twice(shops: Open, took_place: bool) -> None:
    fault = "lose" if took_place else "timeout"
    shop = shops(action("depot.pick"), faults={"depot": [f"{{operation: pick, answer: {fault}, times: 1}}"]})
    one = order(shop, "A-1")
    drain(shop)
    assert case(shop, one).state == "awaiting_human"
    assert kinds(shop, one)[-1] is Kind.PARKED
    assert case(shop, one).reason == (
        f"whether depot.pick took place is not known: simulated {'loss of the answer' if took_place else fault};"
        " its adapter has no way to ask"
    )
    operations.answer(shop, one, by="ann", took_place=took_place, reason="I looked")
    drain(shop)
    assert case(shop, one).state == "completed"
    assert [record.calls for record in outside(shop, "depot")] == [1]
    check_books(shop)


def test_the_step_may_name_whom_to_ask(shops: Open) -> None:
    text = action("depot.pick", ", unknown_outcome: {verify: depot.look}")
    shop = shops(text)
    one = order(shop, "A-1")
    calls: list[str] = []

    def call(what):  # type: ignore[no-untyped-def]
        calls.append(what.action)
        return Unknown("no answer") if what.action == "depot.pick" else Answered({"id": "P"})

    shop.adapters.call = call  # type: ignore[method-assign]
    drain(shop)
    assert calls == ["depot.pick", "depot.look"]
    assert case(shop, one).state == "completed"


def test_what_was_sent_is_sent_again_as_it_was(shops: Open, tmp_path: Path) -> None:
    text = action("depot.pack", ', with: {price: "${tariff}"}').replace("[order]", "[order, tariff]")
    shop = shops(
        text, constants="{tariff: 1}", faults={"depot": ["{operation: pack, answer: timeout, times: 1}"]}
    )
    one = order(shop, "A-1")
    drain(shop, until=lambda: case(shop, one).state == "waiting_retry")
    write_environment(tmp_path, constants="{tariff: 2}")
    other = shops(again=True, clock=shop.clock)
    drain(other)
    assert [record.args for record in outside(other, "depot")] == [{"price": 1}]


def test_a_mistake_while_calling_counts_as_no_answer(shops: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = shops()
    one = order(shop, "A-1")
    really, broken = shop.adapters.call, [True]

    def call(what):  # type: ignore[no-untyped-def]
        outcome = really(what)
        if what.action == "carrier.book" and broken:
            broken.pop()
            raise KeyError("oh")
        return outcome

    monkeypatch.setattr(shop.adapters, "call", call)
    drain(shop)
    assert case(shop, one).state == "completed"
    assert outside(shop)[0].calls == 1
    (unknown,) = bodies(shop, one, Kind.UNKNOWN)
    assert "KeyError at test_unknown.py" in unknown["error"]
