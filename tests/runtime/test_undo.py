"""A case that fails takes back what it did, last first; redriven, it does anew what was taken back."""

from __future__ import annotations

from pathlib import Path

import pytest

from openclaw_dagster.adapters.outcome import Unknown
from openclaw_dagster.runtime import operations
from openclaw_dagster.store.entries import Kind

from .conftest import Open
from .kit import (
    bodies,
    case,
    check_books,
    clock_of,
    drain,
    grab,
    order,
    outside,
    write_environment,
)

#: Three steps that can be taken back, and a fourth that fails.
CHAIN = """
system: dispatch
version: 1.0.0
triggers:
  - order_created: {source: webhook, idempotency: order.id}
decisions:
  - pick: {inputs: [order], table: [{else: true, then: book}], emits: picked}
execution:
  - hold: {on: picked, action: erp.post, undo: erp.reverse, emits: posted, retries: 1}
  - pack: {on: picked, needs: [hold], action: depot.pack, undo: depot.unpack, retries: 1}
  - note: {on: picked, needs: [pack], action: crm.note, with: {customer: "${order.id}", text: packed}}
  - seal: {on: picked, needs: [note], action: depot.seal, undo: depot.unseal, retries: 1}
  - book: {on: picked, needs: [seal], action: carrier.book, retries: 0}
"""
REFUSED = {"carrier": ["{operation: book, answer: refuse}"]}


def undone(shop, one: str) -> list[str]:  # type: ignore[no-untyped-def]
    return [str(body["step"]) for body in bodies(shop, one, Kind.UNDONE)]


def test_what_was_done_is_taken_back_last_first(shops: Open) -> None:
    shop = shops(CHAIN, faults=REFUSED)
    one = order(shop, "A-1")
    drain(shop)
    dead = case(shop, one)
    assert dead.state == "dead_lettered"
    assert undone(shop, one) == ["seal", "pack", "hold"]
    assert dead.facts.steps["note"].state == "completed"
    taken = [record.operation for record in outside(shop, "depot")]
    assert taken == ["pack", "seal", "unseal", "unpack"]
    check_books(shop)


def test_a_redrive_does_anew_what_was_taken_back_and_keeps_what_holds(shops: Open, tmp_path: Path) -> None:
    shop = shops(CHAIN, faults=REFUSED)
    one = order(shop, "A-1")
    drain(shop)
    write_environment(tmp_path)
    mended = shops(again=True, clock=shop.clock)
    operations.redrive(mended, one, by="ann", reason="mended")
    drain(mended)
    done = case(mended, one)
    assert done.state == "completed"
    assert done.facts.steps["pack"].key == f"{one}:pack:2"
    assert done.facts.steps["note"].key == f"{one}:note:1"
    packed = outside(mended, "depot", "pack")
    assert [(record.key, record.undone) for record in packed] == [
        (f"{one}:pack:1", True),
        (f"{one}:pack:2", False),
    ]
    assert len(outside(mended, "crm", "note")) == 1
    check_books(mended)


def test_taking_back_has_retries_of_its_own(shops: Open) -> None:
    shop = shops(CHAIN, faults=REFUSED | {"depot": ["{operation: unpack, answer: fail, times: 1}"]})
    one = order(shop, "A-1")
    drain(shop)
    assert undone(shop, one) == ["seal", "pack", "hold"]
    assert len(bodies(shop, one, Kind.UNDO_RETRY)) == 1
    check_books(shop)


def test_what_cannot_be_taken_back_is_said_and_the_rest_is_taken_back(shops: Open) -> None:
    shop = shops(CHAIN, faults=REFUSED | {"depot": ["{operation: unpack, answer: fail}"]})
    one = order(shop, "A-1")
    drain(shop)
    dead = case(shop, one)
    assert undone(shop, one) == ["seal", "hold"]
    assert dead.reason == (
        "carrier.book refused: simulated refusal; not taken back: pack: "
        "depot.unpack failed in 2 attempts, the last time: simulated failure"
    )


def test_what_was_not_taken_back_is_left_to_a_person_when_nothing_can_be_asked(
    shops: Open, tmp_path: Path
) -> None:
    shop = shops(CHAIN, faults=REFUSED | {"depot": ["{operation: unpack, answer: refuse}"]})
    one = order(shop, "A-1")
    drain(shop)
    write_environment(tmp_path)
    mended = shops(again=True, clock=shop.clock)
    operations.redrive(mended, one, by="ann", reason="mended")
    drain(mended)
    assert case(mended, one).state == "awaiting_human"
    operations.answer(mended, one, by="ann", took_place=False, reason="it lies unpacked")
    drain(mended)
    assert case(mended, one).state == "completed"
    # under its old key the far side would have told of the packing that was undone
    assert case(mended, one).facts.steps["pack"].key == f"{one}:pack:2"


@pytest.mark.parametrize("taken", [True, False])
def test_what_may_have_been_taken_back_is_asked_before_it_is_done_anew(
    shops: Open, tmp_path: Path, taken: bool
) -> None:
    fault = "lose" if taken else "timeout"
    # the attempts of before the redrive are over, so that even a step without retries is tried anew
    text = CHAIN.replace("undo: depot.unseal, retries: 1", "undo: depot.unseal, retries: 0")
    shop = shops(text, faults=REFUSED | {"depot": [f"{{operation: unseal, answer: {fault}}}"]})
    one = order(shop, "A-1")
    drain(shop)
    assert case(shop, one).facts.steps["seal"].state == "stuck"
    write_environment(tmp_path)
    mended = shops(again=True, clock=shop.clock)
    operations.redrive(mended, one, by="ann", reason="mended")
    drain(mended)
    assert case(mended, one).state == "completed"
    assert case(mended, one).facts.steps["seal"].key == f"{one}:seal:{2 if taken else 1}"
    assert len([record for record in outside(mended, "depot", "seal") if not record.undone]) == 1
    check_books(mended)


def test_an_undo_that_is_not_idempotent_is_never_sent_twice(
    shops: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = CHAIN.replace("depot.pack, undo: depot.unpack", "depot.pick, undo: depot.unpick")
    shop = shops(text, faults=REFUSED)
    one = order(shop, "A-1")
    really, calls = shop.adapters.call, []

    def call(what):  # type: ignore[no-untyped-def]
        calls.append(what.action)
        return Unknown("no answer") if what.action == "depot.unpick" else really(what)

    monkeypatch.setattr(shop.adapters, "call", call)
    drain(shop)
    assert calls.count("depot.unpick") == 1
    assert "not taken back: pack: whether depot.unpick took place is not known: no answer" in (
        case(shop, one).reason or ""
    )


def test_workers_that_die_while_taking_back_do_not_die_for_ever(
    shops: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = shops(CHAIN, faults=REFUSED)
    one = order(shop, "A-1")
    really = shop.adapters.call

    class Died(BaseException):
        pass

    def call(what):  # type: ignore[no-untyped-def]
        if what.action == "depot.unpack":
            raise Died
        return really(what)

    monkeypatch.setattr(shop.adapters, "call", call)
    for _ in range(10):
        try:
            drain(shop)
            break
        except Died:
            clock_of(shop).advance(120_000)
    assert case(shop, one).state == "dead_lettered"
    assert "not taken back: pack: depot.unpack had no answer in 2 attempts" in (case(shop, one).reason or "")
    assert not grab(shop).cases
    check_books(shop)
