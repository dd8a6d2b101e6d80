"""What people do to cases, who says it, and two people at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from openclaw_dagster.clock import DAY
from openclaw_dagster.errors import ClawError
from openclaw_dagster.runtime import holds, operations
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.store.entries import Kind
from openclaw_dagster.store.retention import shred

from .conftest import Open
from .kit import (
    DISPATCH,
    START,
    bodies,
    case,
    check_books,
    drain,
    grab,
    order,
    outside,
    pump,
    write_environment,
)

REFUSED = {"carrier": ["{operation: book, answer: refuse}"]}
PICK = DISPATCH.replace("carrier.book", "depot.pick")
LOST = {"depot": ["{operation: pick, answer: lose, times: 1}"]}


def test_a_redrive_is_written_down(shops: Open) -> None:
    shop = shops(faults=REFUSED)
    one = order(shop, "A-1")
    drain(shop)
    after = operations.redrive(shop, one, by="ann", reason="the carrier says it is mended")
    assert (after.state, after.redrives) == ("open", 1)
    (body,) = bodies(shop, one, Kind.REDRIVEN)
    assert (body["by"], body["reason"]) == ("ann", "the carrier says it is mended")
    (letter,) = shop.ledger.dead_letters(redriven=True)
    assert letter["redriven_by"] == "ann"


def test_a_case_is_redriven_ten_times_at_most(shops: Open) -> None:
    shop = shops(faults=REFUSED)
    one = order(shop, "A-1")
    for _ in range(10):
        drain(shop)
        operations.redrive(shop, one, by="ann", reason="again")
    drain(shop)
    with pytest.raises(operations.RedrivenTooOften, match="was redriven 10 times"):
        operations.redrive(shop, one, by="ann", reason="again")
    check_books(shop)


def test_only_dead_letters_are_redriven(shops: Open) -> None:
    shop = shops()
    one = order(shop, "A-1")
    with pytest.raises(operations.NotDead, match="is open"):
        operations.redrive(shop, one, by="ann", reason="again")
    drain(shop)
    with pytest.raises(operations.NotDead, match="is completed"):
        operations.redrive(shop, one, by="ann", reason="again")
    assert len(outside(shop)) == 1


def test_a_redrive_needs_a_version_that_knows_the_trigger(shops: Open) -> None:
    shop = shops(faults=REFUSED)
    one = order(shop, "A-1")
    drain(shop)
    system = shop.project.systems.pop("dispatch")
    for same in (True, False):  # no job is there that would move it
        with pytest.raises(operations.NoSystem, match="the file of its system dispatch is gone"):
            operations.redrive(shop, one, by="ann", reason="again", same_version=same)
    shop.project.systems["dispatch"] = system.model_copy(update={"triggers": ()})
    with pytest.raises(operations.NoVersion, match="no trigger order_created"):
        operations.redrive(shop, one, by="ann", reason="again")
    operations.redrive(shop, one, by="ann", reason="again", same_version=True)


@pytest.mark.parametrize("by", ["", "  "])
def test_nobody_and_nothing_are_no_name_and_no_reason(shops: Open, by: str) -> None:
    shop = shops()
    one = order(shop, "A-1")
    with pytest.raises(operations.NotSaid, match="who you are"):
        operations.cancel(shop, one, by=by, reason="because")
    with pytest.raises(operations.NotSaid, match="why you do it"):
        operations.cancel(shop, one, by="ann", reason=by)
    with pytest.raises(operations.NoCase):
        operations.cancel(shop, "case_none", by="ann", reason="because")


def test_only_a_question_is_answered(shops: Open) -> None:
    shop = shops(PICK, faults=LOST)
    one = order(shop, "A-1")
    with pytest.raises(operations.NoQuestion):
        operations.answer(shop, one, by="ann", took_place=True, reason="seen")
    drain(shop)
    with pytest.raises(operations.BadResult):
        operations.answer(shop, one, by="ann", took_place=True, result={"x": float("nan")}, reason="seen")
    operations.answer(shop, one, by="ann", took_place=True, reason="seen")
    with pytest.raises(operations.NoQuestion, match="is open"):
        operations.answer(shop, one, by="bob", took_place=False, reason="not seen")
    drain(shop)
    assert case(shop, one).state == "completed"


def test_waiting_cases_are_cancelled_and_the_journal_says_what_stays(shops: Open) -> None:
    two = DISPATCH + "  - pack: {on: picked, action: depot.pack, needs: [book]}\n"
    shop = shops(two, faults={"depot": ["{operation: pack, answer: fail}"]})
    one, fresh = order(shop, "A-1"), order(shop, "A-2")
    operations.cancel(shop, fresh, by="ann", reason="withdrawn")
    pump(shop)
    assert case(shop, one).state == "waiting_retry"
    after = operations.cancel(shop, one, by="ann", reason="withdrawn")
    assert (after.state, after.reason, after.due_at) == ("cancelled", "withdrawn", None)
    assert bodies(shop, one, Kind.CANCELLED)[0]["stays"] == {"book": "completed"}
    drain(shop)
    assert case(shop, one).state == case(shop, fresh).state == "cancelled"
    check_books(shop)


def test_running_and_ended_cases_are_not_cancelled(shops: Open) -> None:
    shop = shops()
    one = order(shop, "A-1")
    assert grab(shop).cases
    with pytest.raises(operations.NotCancelled, match="wait until its run has ended"):
        operations.cancel(shop, one, by="ann", reason="withdrawn")
    drain(shop)
    with pytest.raises(operations.NotCancelled, match="it has ended already"):
        operations.cancel(shop, one, by="ann", reason="withdrawn")


def test_a_dead_letter_that_nobody_takes_up_is_put_away(shops: Open) -> None:
    shop = shops(faults=REFUSED)
    one = order(shop, "A-1")
    drain(shop)
    assert shop.ledger.dead_letters()
    assert operations.cancel(shop, one, by="ann", reason="sent by hand").state == "cancelled"
    assert not shop.ledger.dead_letters()
    (letter,) = shop.ledger.dead_letters(redriven=True)
    assert letter["redriven_by"] == "ann"
    with pytest.raises(operations.NotDead):
        operations.redrive(shop, one, by="ann", reason="after all")
    check_books(shop)


def together(*works: Callable[[], object]) -> list[str]:
    """Do all at once, and return what each came to."""

    def run(work: Callable[[], object]) -> str:
        try:
            work()
            return "done"
        except ClawError as error:
            return type(error).__name__

    with ThreadPoolExecutor(len(works)) as pool:
        return sorted(pool.map(run, works))


def test_two_people_who_redrive_at_once_redrive_once(shops: Open) -> None:
    shop = shops(faults=REFUSED)
    one = order(shop, "A-1")
    for times in range(1, 6):
        drain(shop)
        said = together(*[lambda: operations.redrive(shop, one, by="x", reason="y")] * 3)
        assert said.count("done") == 1
        assert set(said) <= {"done", "NotDead", "Overtaken"}
        assert case(shop, one).redrives == times
    check_books(shop)


def test_two_people_who_say_different_things_give_one_verdict(shops: Open) -> None:
    shop = shops(PICK, faults=LOST)
    cases = [order(shop, f"A-{number}") for number in range(5)]
    drain(shop)
    for one in cases:
        said = together(*_verdicts(shop, one))
        assert said.count("done") == 1, said
        assert len(bodies(shop, one, Kind.ANSWERED)) == 1
    check_books(shop)


def test_an_answer_to_a_question_that_was_settled_meanwhile_is_refused(
    shops: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The case waits for a human again, but for another step."""
    two = PICK + "  - more: {on: picked, action: depot.pick, needs: [book]}\n"
    shop = shops(two, faults=LOST)
    one = order(shop, "A-1")
    drain(shop)
    seen = case(shop, one)
    operations.answer(shop, one, by="ann", took_place=True, reason="seen")
    drain(shop)
    assert case(shop, one).state == "awaiting_human"
    monkeypatch.setattr(shop.ledger, "case", lambda _: seen)
    with pytest.raises(operations.Overtaken, match="look again"):
        operations.answer(shop, one, by="bob", took_place=False, reason="not seen")
    monkeypatch.undo()
    assert case(shop, one).facts.steps["book"].state == "completed"
    check_books(shop)


def _verdicts(shop: Workspace, one: str) -> list[Callable[[], object]]:
    def tell(by: str, took_place: bool) -> Callable[[], object]:
        return lambda: operations.answer(shop, one, by=by, took_place=took_place, reason="seen")

    return [tell("ann", True), tell("bob", False), tell("eve", True)]


def test_a_dead_letter_that_loses_its_payload_as_it_is_redriven_sends_nothing(
    shops: Open, tmp_path: Path
) -> None:
    """Its step names no arguments: what it would send without the payload is not what anybody wants."""
    shop = shops(faults=REFUSED)
    one = order(shop, "A-1")
    drain(shop)
    write_environment(tmp_path)
    shop = shops(again=True, clock=shop.clock)
    operations.redrive(shop, one, by="ann", reason="the carrier says it is mended")
    with shop.ledger.database.write() as connection:
        connection.execute(sa.text("UPDATE claw_events SET payload = NULL"))
    drain(shop)
    assert (case(shop, one).state, outside(shop)) == ("dead_lettered", [])
    assert "past its retention" in str(case(shop, one).reason)


def test_a_case_that_rests_longer_than_its_payload_is_kept_still_sends_it(shops: Open) -> None:
    shop = shops()
    holds.place(shop, "carrier.book", by="ann", reason="wrong prices")
    order(shop, "A-1")
    drain(shop)
    shred(shop.ledger.database, START + 366 * DAY)
    holds.release(shop, "carrier.book", by="ann", reason="mended")
    shop.look_again()
    drain(shop)
    (booked,) = outside(shop)
    assert booked.args["order"] == {"id": "A-1"}
    check_books(shop)
