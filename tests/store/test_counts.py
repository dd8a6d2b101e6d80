"""How many cases there are of each system and state, counted as they are written, whoever writes beside whom."""

from __future__ import annotations

from openclaw_dagster.clock import MINUTE, VirtualClock
from openclaw_dagster.store import tally
from openclaw_dagster.store.audit import Fault, verify
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.entries import Entry, Kind
from openclaw_dagster.store.ledger import Change, Ledger, with_fence

from .samples import (
    arrival,
    at_once,
    begun,
    closed,
    completed,
    held,
    live,
    open_cases,
    opening,
    redriven,
    run,
)


def one_by_one(database: Database) -> dict[tuple[str, str], int]:
    with database.read() as connection:
        return dict(tally.count(connection))


def test_each_change_is_counted(ledger: Ledger, database: Database, clock: VirtualClock) -> None:
    assert ledger.counts() == {}
    live(ledger, 9)
    assert ledger.counts()["orders", "completed"] == 3
    assert ledger.counts() == one_by_one(database)
    dead, *others = [letter["case_id"] for letter in ledger.dead_letters()]
    ledger.write([Change(dead, (redriven(),))])
    ledger.write([Change(others[0], (Entry(Kind.CANCELLED, {"by": "ann", "reason": "done by hand"}),))])
    assert ledger.counts() == one_by_one(database)
    clock.advance(MINUTE)
    heard = arrival("x", opening("x", system="billing"), system="billing")
    for case in held(ledger):
        ledger.write([with_fence(case, begun(case), completed(), closed(), emitted=(heard,))])
    assert ledger.counts()["billing", "open"] == 1
    assert ledger.counts() == one_by_one(database)


def test_a_case_that_is_written_twice_in_one_change_is_one_case(ledger: Ledger, database: Database) -> None:
    [case_id] = open_cases(ledger, 1)
    [case] = held(ledger)
    ledger.write([with_fence(case, begun(case)), with_fence(case, completed(), closed())])
    assert ledger.counts() == one_by_one(database) == {("orders", "completed"): 1}
    assert ledger.case(case_id) is not None


def test_what_is_not_written_is_not_counted(ledger: Ledger) -> None:
    open_cases(ledger, 1)
    [case] = held(ledger)
    ledger.orphan("run", by="test")
    assert ledger.write([with_fence(case, closed())]).lost == {case.id}
    open_cases(ledger, 1)  # the same key again
    assert ledger.counts() == {("orders", "open"): 1}


def test_writers_side_by_side_count_right(ledger: Ledger, database: Database) -> None:
    def work(number: int) -> None:
        for round_ in range(5):
            open_cases(ledger, 4, prefix=f"w{number}_{round_}_")
            for case in held(ledger, limit=3, run=f"run{number}"):
                ledger.write([with_fence(case, begun(case), completed(), closed())])

    at_once(8, work)
    assert sum(ledger.counts().values()) == 160
    assert ledger.counts() == one_by_one(database)
    assert verify(database).faults == ()


def test_numbers_that_are_not_what_is_here_are_found(ledger: Ledger, database: Database) -> None:
    live(ledger, 4)
    run(
        database,
        "UPDATE claw_tallies SET counts = :counts WHERE shard = 5",
        counts='{"orders":{"completed":1}}',
    )
    assert verify(database).faults == (
        Fault("cases", "their numbers by system and state are not what is here"),
    )
    run(database, "UPDATE claw_tallies SET counts = :counts WHERE shard = 5", counts="{orders")
    assert verify(database).faults == (Fault("history", "the count of its rows cannot be read"),)
    assert ledger.counts() == one_by_one(database)
