"""Hosts whose clock is not Postgres' accept events and claim nothing: others would take over what they hold."""

from __future__ import annotations

import time

import pytest
import sqlalchemy as sa

from openclaw_dagster.clock import HOUR, MINUTE, SECOND, SystemClock, VirtualClock
from openclaw_dagster.store import clocks
from openclaw_dagster.store.clocks import Clocks, ClocksApart
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.ledger import Ledger

from .samples import LEASE, held, open_cases


class WrongClock(SystemClock):
    """The machine's clock, set wrong by so much."""

    def __init__(self, by: int) -> None:
        self.by = by

    def now(self) -> int:
        return super().now() + self.by


@pytest.fixture
def wrong(database: Database) -> WrongClock:
    if database.dialect == "sqlite":
        pytest.skip("a file is on the machine that uses it")
    return WrongClock(10 * SECOND)


@pytest.mark.parametrize("by", [10 * SECOND, -10 * SECOND, 3 * SECOND, HOUR])
def test_with_a_wrong_clock_events_come_in_and_nothing_is_claimed(
    wrong: WrongClock, database: Database, by: int
) -> None:
    wrong.by = by
    ledger = Ledger(database, wrong)
    [case] = open_cases(Ledger(database), 1)
    [there] = open_cases(ledger, 1, "there")
    with pytest.raises(ClocksApart) as caught:
        ledger.claim("orders", limit=1, lease=LEASE, by="test")
    assert caught.value.code == "CLAW203"
    said = str(caught.value)
    assert "timedatectl set-ntp true" in said
    assert str(caught.value.details["here"]) in said
    assert str(caught.value.details["there"]) in said
    assert [len(ledger.journal(one)) for one in (case, there)] == [1, 1]
    wrong.by = 0
    assert case in [one.id for one in held(ledger)], "nobody has to do anything when it is right again"


def test_a_worker_with_a_wrong_clock_starts_nothing_that_another_host_claimed(
    wrong: WrongClock, database: Database
) -> None:
    right = Ledger(database)
    [case] = open_cases(right, 1)
    claim = right.claim("orders", limit=1, lease=LEASE, by="test")
    assert claim is not None
    with pytest.raises(ClocksApart):
        Ledger(database, wrong).start(claim.id, run_id="run", lease=LEASE, host="there")
    assert [one.id for one in right.start(claim.id, run_id="run", lease=LEASE, host="here")] == [case]


@pytest.mark.parametrize("by", [0, 1500, -1500])
def test_a_little_is_no_difference(wrong: WrongClock, database: Database, by: int) -> None:
    wrong.by = by
    Clocks(database, wrong).agree()


def test_a_slow_answer_is_no_difference(
    wrong: WrongClock, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = clocks.of_database

    def slowly(connection: sa.Connection) -> int:
        said = ask(connection)
        time.sleep(2.5)
        return said

    monkeypatch.setattr(clocks, "of_database", slowly)
    wrong.by = 0
    Clocks(database, wrong).agree()


def test_they_are_compared_about_once_a_minute_and_when_a_clock_was_set(
    wrong: WrongClock, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    ask = clocks.of_database
    monkeypatch.setattr(clocks, "of_database", lambda connection: asked.append(1) or ask(connection))
    wrong.by, later = 0, time.monotonic() + 61
    ledger = Ledger(database, wrong)
    for _ in range(5):
        ledger.claim("orders", limit=1, lease=LEASE, by="test")
    assert len(asked) == 1
    wrong.by = 5 * SECOND
    with pytest.raises(ClocksApart):
        ledger.claim("orders", limit=1, lease=LEASE, by="test")
    wrong.by = 0
    ledger.clocks.agree()
    assert len(asked) == 2, "it was known to be right a moment ago, and is so again"
    monkeypatch.setattr(clocks.time, "monotonic", lambda: later)
    wrong.by = 61 * SECOND - 1500
    with pytest.raises(ClocksApart):
        ledger.clocks.agree()
    assert len(asked) == 3


def test_a_file_and_a_clock_that_is_moved_by_hand_are_not_compared(
    database: Database, ledger: Ledger, clock: VirtualClock
) -> None:
    open_cases(ledger, 1)
    clock.advance(MINUTE)
    assert len(held(ledger)) == 1
    if database.dialect == "sqlite":
        there = Ledger(database, WrongClock(HOUR))
        [case] = open_cases(there, 1, "file")
        assert case in [one.id for one in held(there)]
