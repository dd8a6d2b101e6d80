"""Sealing: by no clock that runs ahead, while others write, and whole whoever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from openclaw_dagster.clock import DAY, HOUR, MINUTE, SystemClock, VirtualClock, day_of
from openclaw_dagster.store import seals, tally
from openclaw_dagster.store.audit import verify
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.ledger import Ledger
from openclaw_dagster.store.seals import Sealing, seal

from .samples import NOW, arrival, at_once, count, live, open_cases, query

_ROOT = Path(__file__).parents[2]

_DIE = """
import os, signal, sys
import sqlalchemy as sa
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.seals import seal

database, left = Database(sys.argv[1]), [int(sys.argv[3])]

def die(*_):
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1

sa.event.listen(database.engine, "after_cursor_execute", die)
sa.event.listen(database.engine, "commit", die)
seal(database, int(sys.argv[2]))
print("sealed")
"""


def floors(database: Database) -> set[int]:
    return {row.floor for row in query(database, "SELECT floor FROM claw_tallies")}


def days(count: int) -> list[str]:
    return [day_of(NOW + number * DAY) for number in range(count)]


@pytest.fixture
def week(ledger: Ledger, database: Database, clock: VirtualClock) -> Database:
    """Give a history of three days that are over and one that is not."""
    for _ in range(3):
        live(ledger, 2)
        clock.advance(DAY)
    clock.advance(HOUR)
    open_cases(ledger, 2, "today")
    return database


class TestAClockThatRunsAhead:
    def test_of_the_database_it_is_found_by_the_database(self, database: Database) -> None:
        here = SystemClock()
        open_cases(Ledger(database, here), 1)
        sealed = seal(database, here.now() + 20 * HOUR)
        assert sealed.made == ()
        assert sealed.doubt is not None
        assert "no day is sealed until they agree" in sealed.doubt
        assert floors(database) == {0}

    def test_where_the_database_agrees_it_is_found_by_the_silence(
        self, week: Database, ledger: Ledger, clock: VirtualClock
    ) -> None:
        sealed = seal(week, clock.now() + 30 * DAY)
        assert [day for day, _ in sealed.made] == days(3), "what was written today shows that they are over"
        assert sealed.doubt is not None
        assert "the days since then are sealed after the next event" in sealed.doubt
        assert floors(week) == {NOW + 3 * DAY}
        [receipt] = ledger.receive([arrival("next")])
        assert ledger.events([receipt.event_id])[receipt.event_id].received_at == clock.now()

    def test_a_silence_that_was_true_ends_with_the_next_event(
        self, week: Database, ledger: Ledger, clock: VirtualClock
    ) -> None:
        clock.advance(5 * DAY)
        assert len(seal(week, clock.now()).made) == 3
        open_cases(ledger, 1, "later")
        sealed = seal(week, clock.now())
        assert (len(sealed.made), sealed.doubt) == (5, None)
        assert verify(week).faults == ()

    def test_a_quiet_night_is_no_silence(self, week: Database, clock: VirtualClock) -> None:
        clock.at = NOW + 4 * DAY + 17 * MINUTE
        assert seal(week, clock.now()).doubt is None
        assert count(week, "claw_day_heads") == 4

    def test_a_floor_that_is_ahead_already_stays(self, week: Database, clock: VirtualClock) -> None:
        with week.write() as connection:
            tally.raise_floor(connection, NOW + 30 * DAY)
        assert len(seal(week, clock.now()).made) == 3
        assert floors(week) == {NOW + 30 * DAY}


def test_others_write_while_a_day_is_read(
    week: Database, ledger: Ledger, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = seals.content

    def slow(connection: sa.Connection, day: str) -> tuple[int, str]:
        before = read(connection, day)
        at = clock.at
        clock.at = seals.begin_of(day) + HOUR  # a host whose clock is late: what it writes is not of that day
        assert writers.submit(open_cases, ledger, 1, day).result(timeout=5), "nobody waits for a seal"
        clock.at = at
        return before

    with ThreadPoolExecutor(1) as writers, monkeypatch.context() as patch:
        patch.setattr(seals, "content", slow)
        assert len(seal(week, clock.now()).made) == 3
    assert count(week, "claw_cases") == 3 * 2 + 2 + 3
    assert verify(week).faults == ()


def test_each_day_is_committed_and_told_before_the_next_is_read(
    week: Database, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    read = seals.content

    def check(connection: sa.Connection, day: str) -> tuple[int, str]:
        if len(told) == 2:
            raise OSError("the disk is gone")
        return read(connection, day)

    monkeypatch.setattr(seals, "content", check)
    with pytest.raises(OSError, match="the disk is gone"):
        seal(week, clock.now(), lambda day, head: told.append(day))
    assert told == [row.day for row in query(week, "SELECT day FROM claw_day_heads ORDER BY day")] == days(2)
    assert floors(week) == {NOW + 3 * DAY}, "the third is closed all the same"
    monkeypatch.setattr(seals, "content", read)
    assert [day for day, _ in seal(week, clock.now()).made] == days(3)[2:]
    assert verify(week).faults == ()


def test_who_seals_at_once_seals_each_day_once(week: Database, clock: VirtualClock) -> None:
    sealed: list[Sealing] = at_once(4, lambda _: seal(week, clock.now()))
    assert sorted(day for one in sealed for day, _ in one.made) == days(3)
    assert verify(week).faults == ()


def test_a_day_that_is_open_again_is_not_sealed(
    week: Database, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A standby that took over without the last commits does not know of the floor."""
    read = seals.content

    def forget(connection: sa.Connection, day: str) -> tuple[int, str]:
        with ThreadPoolExecutor(1) as other:
            other.submit(_lower, week).result(timeout=5)
        return read(connection, day)

    with monkeypatch.context() as patch:
        patch.setattr(seals, "content", forget)
        assert seal(week, clock.now()).made == ()
    assert [day for day, _ in seal(week, clock.now()).made] == days(3)


def _lower(database: Database) -> None:
    with database.write() as connection:
        tally.raise_floor(connection, 0)


def test_whoever_is_killed_leaves_whole_days_and_the_rest_for_the_next(
    week: Database, ledger: Ledger, clock: VirtualClock
) -> None:
    address = week.url.render_as_string(hide_password=False)
    for last in range(60):
        command = [sys.executable, "-c", _DIE, address, str(clock.now()), str(last)]
        done = subprocess.run(
            command, cwd=_ROOT, capture_output=True, text=True, env=dict(os.environ), timeout=60, check=False
        )
        assert verify(week).faults == ()
        if done.stdout.strip() == "sealed":
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        open_cases(ledger, 1, f"after{last}_")
    assert last > 8
    assert count(week, "claw_day_heads") == 3
    assert seal(week, clock.now()).made == ()
