"""A floor that is ahead of the clock dates what is written, and nothing else: whoever waits goes by the clock."""

from __future__ import annotations

import pytest

from openclaw_dagster.clock import DAY, HOUR, MINUTE, VirtualClock
from openclaw_dagster.store import agenda, tally
from openclaw_dagster.store.audit import verify
from openclaw_dagster.store.conditions import Seen
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.entries import Entry, Kind
from openclaw_dagster.store.ledger import Change, Ledger, with_fence
from openclaw_dagster.store.outbox import Outbox

from .samples import (
    LEASE,
    NOW,
    arrival,
    begun,
    closed,
    completed,
    dead_lettered,
    failed,
    held,
    open_cases,
    opening,
    redriven,
    retry,
)

FLOOR = NOW + 30 * DAY


@pytest.fixture(autouse=True)
def sealed_ahead(database: Database) -> None:
    """Leave what a clock left that was a month ahead for a moment: a floor of then."""
    with database.write() as connection:
        tally.take_all(connection)
        tally.raise_floor(connection, FLOOR)


def due(ledger: Ledger) -> int:
    """Return how many cases are due, by all who ask for it."""
    agreed = {sum(one.count for one in ledger.due(["orders"]).systems)}
    agreed.add(len(agenda.waiting(ledger.database, "orders", ledger.clock.now(), 100)))
    [number] = agreed
    return number


def test_an_event_is_dated_after_the_seal_and_its_case_is_due_at_once(ledger: Ledger) -> None:
    [receipt] = ledger.receive([arrival("A-1")])
    assert ledger.events([receipt.event_id])[receipt.event_id].received_at == FLOOR
    assert due(ledger) == 1
    [case] = held(ledger)
    assert [record.at for record in ledger.journal(case.id)] == [FLOOR] * 3
    assert (case.created_at, case.started_at) == (FLOOR, FLOOR)
    ledger.write([with_fence(case, begun(case), completed(), closed())])
    assert due(ledger) == 0
    assert verify(ledger.database).faults == ()


def test_a_lease_lasts_as_long_as_it_says_and_no_longer(ledger: Ledger, clock: VirtualClock) -> None:
    open_cases(ledger, 1)
    [case] = held(ledger)
    assert case.due_at == NOW + LEASE
    clock.advance(LEASE - 1)
    assert held(ledger) == [], "somebody is at work"
    clock.advance(1)
    assert [one.id for one in held(ledger)] == [case.id]


def test_a_retry_comes_when_it_was_said(ledger: Ledger, clock: VirtualClock) -> None:
    open_cases(ledger, 1)
    [case] = held(ledger)
    ledger.write([with_fence(case, begun(case), retry(NOW + MINUTE))])
    assert held(ledger) == []
    assert ledger.due(["orders"]).next_at == NOW + MINUTE
    clock.advance(MINUTE)
    assert due(ledger) == 1
    assert [one.id for one in held(ledger)] == [case.id]


def test_what_is_given_back_is_due_at_once(ledger: Ledger) -> None:
    open_cases(ledger, 1)
    claim = ledger.claim("orders", limit=1, lease=LEASE, by="test")
    assert claim is not None
    assert ledger.release(claim.id, by="test") == 1
    assert due(ledger) == 1
    [case] = held(ledger, run="lost")
    ledger.write([with_fence(case, begun(case))])
    assert ledger.orphan("lost", by="test") == 1
    assert due(ledger) == 1
    [again] = held(ledger)
    assert again.facts.steps["pay"].lost == NOW, "the far side's time is counted from now"
    ledger.write([with_fence(again, failed(), dead_lettered())])
    ledger.write([Change(again.id, (redriven(),))])
    assert due(ledger) == 1
    assert verify(ledger.database).faults == ()


def test_a_key_is_remembered_for_its_time(ledger: Ledger, clock: VirtualClock) -> None:
    one = arrival("k", opening("k", window=HOUR))
    ledger.receive([one])
    clock.advance(HOUR - 1)
    assert [receipt.duplicate for receipt in ledger.receive([one])] == [True]
    clock.advance(1)
    assert [receipt.duplicate for receipt in ledger.receive([one])] == [False]


def test_a_condition_has_to_hold_for_its_time(ledger: Ledger, clock: VirtualClock) -> None:
    def look() -> bool:
        seen = Seen("orders", "high", true=True)
        return ledger.condition(seen, hold=10 * MINUTE, gap=HOUR, told=lambda _: arrival("high")) is not None

    assert not look()
    clock.advance(10 * MINUTE)
    assert look()


def test_people_are_told_at_once(ledger: Ledger, database: Database, clock: VirtualClock) -> None:
    open_cases(ledger, 1)
    [case] = held(ledger)
    asks = {
        "step": "pay", "request": 1, "kind": "approval", "digest": "d", "roles": ["finance"], "quorum": 1,
        "deadline_at": NOW + 2 * HOUR, "remind_at": NOW + HOUR, "overdue": "deny", "shown": {}, "changed": {},
        "notify": ["slack://finance"],
    }  # fmt: skip
    ledger.write([with_fence(case, Entry(Kind.ASKED, asks))])
    outbox = Outbox(database, clock)
    assert outbox.next("slack") == NOW
    notice = outbox.claim("slack", lease=MINUTE)
    assert notice is not None
    assert notice.made_at == notice.since == NOW, "from then on a channel is searched for it"
    [request] = ledger.checkpoints(waiting=True)
    assert request.asked_at == NOW
    asked = ledger.journal(case.id)[-1]
    assert (asked.at, asked.moment) == (FLOOR, NOW)
    assert due(ledger) == 0
    clock.advance(HOUR)
    assert due(ledger) == 1, "somebody is to be reminded"
    assert verify(database).faults == ()


def test_an_answer_makes_its_case_due_at_once(ledger: Ledger) -> None:
    open_cases(ledger, 1)
    [case] = held(ledger)
    parked = Entry(Kind.PARKED, {"step": "pay", "attempt": 1, "error": "no answer"})
    ledger.write([with_fence(case, begun(case), parked)])
    assert due(ledger) == 0
    said = {"step": "pay", "took_place": True, "result": "ok", "by": "ann", "reason": "asked the bank"}
    ledger.write([Change(case.id, (Entry(Kind.ANSWERED, said),))])
    assert due(ledger) == 1
    assert verify(ledger.database).faults == ()
