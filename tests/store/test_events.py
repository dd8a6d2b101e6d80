"""The event log: once per key, whoever sends how often at whatever moment."""

from __future__ import annotations

import random

import pytest

from openclaw_dagster.clock import HOUR, VirtualClock
from openclaw_dagster.store import events
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.entries import Kind
from openclaw_dagster.store.ledger import Ledger, with_fence

from .samples import NOW, arrival, at_once, completed, count, held, open_cases, opening


def test_an_event_opens_its_case(ledger: Ledger) -> None:
    [receipt] = ledger.receive([arrival("A1", traceparent="00-1-2-01")])
    assert not receipt.duplicate
    case = ledger.case(str(receipt.case_id))
    assert case is not None
    assert (case.system, case.trigger, case.key, case.state, case.due_at) == (
        "orders",
        "placed",
        "A1",
        "open",
        NOW,
    )
    event = ledger.events([receipt.event_id])[receipt.event_id]
    assert (event.payload, event.source, event.received_at, event.traceparent) == (
        {"order": "A1"},
        "webhook",
        NOW,
        "00-1-2-01",
    )


def test_a_second_post_gets_the_first_case(ledger: Ledger, database: Database) -> None:
    [first] = ledger.receive([arrival("A1")])
    [second] = ledger.receive([arrival("A1", payload={"order": "changed"})])
    assert (second.event_id, second.case_id, second.duplicate) == (first.event_id, first.case_id, True)
    assert (count(database, "claw_events"), count(database, "claw_cases")) == (1, 1)


def test_fifty_posts_at_once_are_one_case(ledger: Ledger, database: Database) -> None:
    receipts = at_once(50, lambda _: ledger.receive([arrival("A1")])[0])
    assert len({receipt.case_id for receipt in receipts}) == 1
    assert len({receipt.event_id for receipt in receipts}) == 1
    assert [receipt.duplicate for receipt in receipts].count(False) == 1
    assert (
        count(database, "claw_events"),
        count(database, "claw_cases"),
        count(database, "claw_journal"),
    ) == (1, 1, 1)


def test_crossing_bulks_neither_block_nor_double(ledger: Ledger, database: Database) -> None:
    def post(number: int) -> list[str | None]:
        keys = [f"k{key}" for key in range(40)]
        random.Random(number).shuffle(keys)
        found = ledger.receive([arrival(key, opening(key), opening(key, system="audit")) for key in keys])
        return [one.case_id for _, one in sorted(zip(keys, found, strict=True), key=lambda pair: pair[0])]

    answers = at_once(12, post)
    assert all(answer == answers[0] for answer in answers)
    assert (count(database, "claw_events"), count(database, "claw_cases")) == (40, 80)


def test_receipts_come_in_order_with_duplicates_inside(ledger: Ledger, database: Database) -> None:
    [old] = ledger.receive([arrival("B")])
    receipts = ledger.receive([arrival(key) for key in ("C", "B", "A", "C", "A", "D")])
    assert [receipt.duplicate for receipt in receipts] == [False, True, False, True, True, False]
    assert receipts[1].case_id == old.case_id
    assert (receipts[3].case_id, receipts[4].case_id) == (receipts[0].case_id, receipts[2].case_id)
    keys = [ledger.case(str(receipt.case_id)).key for receipt in receipts]  # type: ignore[union-attr]
    assert keys == ["C", "B", "A", "C", "A", "D"]
    assert count(database, "claw_events") == 4


def test_a_bulk_is_logged_in_its_order(ledger: Ledger, database: Database) -> None:
    receipts = ledger.receive([arrival(key) for key in ("z", "y", "x")])
    with database.read() as connection:
        rows = connection.exec_driver_sql("SELECT id FROM claw_events ORDER BY seq").scalars().all()
    assert rows == [receipt.event_id for receipt in receipts]


def test_a_large_bulk_of_known_keys(ledger: Ledger) -> None:
    first = ledger.receive([arrival(f"k{i}") for i in range(2500)])
    again = ledger.receive([arrival(f"k{i}") for i in range(2500)])
    assert [one.case_id for one in again] == [one.case_id for one in first]
    assert all(one.duplicate for one in again)


def test_a_key_opens_anew_when_its_window_is_over(ledger: Ledger, clock: VirtualClock) -> None:
    post = arrival("A1", opening("A1", window=HOUR))
    [first] = ledger.receive([post])
    clock.advance(HOUR - 1)
    assert ledger.receive([post])[0].case_id == first.case_id
    clock.advance(1)
    [third] = ledger.receive([post])
    assert not third.duplicate
    assert third.case_id not in (None, first.case_id)
    assert ledger.receive([post])[0].case_id == third.case_id


def test_a_key_without_a_window_is_remembered_for_ever(ledger: Ledger, clock: VirtualClock) -> None:
    [first] = ledger.receive([arrival("A1")])
    clock.advance(100_000 * HOUR)
    assert ledger.receive([arrival("A1")])[0].case_id == first.case_id


def test_a_false_condition_keeps_the_event_and_opens_nothing(ledger: Ledger, database: Database) -> None:
    [receipt] = ledger.receive([arrival("A1", opening("A1", opens=False))])
    assert (receipt.case_id, receipt.duplicate) == (None, False)
    [again] = ledger.receive([arrival("A1")])
    assert (again.case_id, again.duplicate, again.event_id) == (None, True, receipt.event_id)
    assert (count(database, "claw_events"), count(database, "claw_cases")) == (1, 0)


def test_an_emitted_event_opens_a_case_in_each_listener(ledger: Ledger, database: Database) -> None:
    open_cases(ledger, 1)
    [case] = held(ledger)
    told = arrival(
        "e1",
        opening("e1", system="billing"),
        opening("e1", system="stock"),
        source="emitted",
        case_id=case.id,
    )
    ledger.write([with_fence(case, completed(), emitted=(told,))])
    assert ledger.counts() == {("orders", "running"): 1, ("billing", "open"): 1, ("stock", "open"): 1}
    [billing], [stock] = ledger.find(system="billing"), ledger.find(system="stock")
    assert billing.event_id == stock.event_id
    assert ledger.events([stock.event_id])[stock.event_id].case_id == case.id
    assert [record.kind for record in ledger.journal(stock.id)] == [Kind.OPENED]


def test_an_emitted_event_that_nobody_hears_is_logged(ledger: Ledger, database: Database) -> None:
    open_cases(ledger, 1)
    [case] = held(ledger)
    told = events.Arrival("orders", "shipped", "emitted", "e1", {}, HOUR, (), case.id)
    ledger.write([with_fence(case, completed(), emitted=(told,))])
    assert count(database, "claw_events") == 2


def test_a_key_that_one_listener_knows_still_opens_the_other(ledger: Ledger) -> None:
    [first] = ledger.receive([arrival("e1", opening("e1", system="billing"))])
    [both] = ledger.receive([arrival("e1", opening("e1", system="billing"), opening("e1", system="stock"))])
    assert (both.case_id, both.duplicate) == (first.case_id, False)
    assert len(ledger.find(system="billing")) == len(ledger.find(system="stock")) == 1


@pytest.mark.parametrize(
    "payload",
    [
        {"a": "\x00"},
        {"a": "\ud800"},
        {"a": 10**60},
        {"é": "😀"},
        {"a": {"b": [None, True, 1.5]}},
        {"%s": "%(x)s :y '"},
    ],
    ids=repr,
)
def test_any_payload_comes_back_as_it_was(ledger: Ledger, payload: dict[str, object]) -> None:
    [receipt] = ledger.receive([arrival("A1", payload=payload)])
    assert ledger.events([receipt.event_id])[receipt.event_id].payload == payload
