"""Schedules whose ticks were missed: which of them are made up for, and each once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from openclaw_dagster.clock import VirtualClock
from openclaw_dagster.compile.schedules import schedules_of
from openclaw_dagster.runtime.workspace import Workspace

from .conftest import Open
from .kit import check_books, clock_of, drain

HOURLY = """
system: hourly
version: 1.0.0
triggers:
  - tick: {source: schedule, cron: "0 * * * *", timezone: Europe/Berlin, catchup: all}
decisions:
  - pick: {inputs: [tick], table: [{else: true, then: go}], emits: picked}
execution:
  - post: {on: picked, action: erp.post, with: {order: "${tick.at}"}}
"""
#: The night in which the clocks in Berlin go back an hour; ms of it are the same everywhere.
NIGHT = datetime(2023, 10, 28, 22, tzinfo=UTC)


def look(shop: Workspace, at: datetime) -> dg.ScheduleExecutionData:
    """Evaluate the tick of a moment as the daemon does, a second later."""
    clock_of(shop).at = int(at.timestamp() * 1000) + 1_000
    (schedule,) = schedules_of(shop, shop.system("hourly"))
    return schedule.evaluate_tick(dg.build_schedule_context(scheduled_execution_time=at))


def keys(shop: Workspace) -> list[str]:
    return sorted(one.key for one in shop.ledger.find(limit=2_000))


@pytest.mark.parametrize(("catchup", "cases"), [("none", 2), ("last", 2), ("all", 9)])
def test_what_was_missed_for_eight_hours(shops: Open, catchup: str, cases: int) -> None:
    shop = shops(HOURLY.replace("catchup: all", f"catchup: {catchup}"), clock=VirtualClock(0))
    look(shop, NIGHT)
    said = look(shop, NIGHT + timedelta(hours=8))
    assert len(said.run_requests or ()) == 1
    assert len(keys(shop)) == cases
    if catchup == "all":
        assert keys(shop) == [f"{NIGHT + timedelta(hours=n):%Y-%m-%dT%H:%M:%SZ}" for n in range(9)]
    look(shop, NIGHT + timedelta(hours=8))  # the daemon died before it wrote down that it had looked
    assert len(keys(shop)) == cases
    drain(shop)
    check_books(shop)


def test_the_first_tick_of_a_schedule_makes_up_for_nothing(shops: Open) -> None:
    shop = shops(HOURLY, clock=VirtualClock(0))
    look(shop, NIGHT)
    assert len(keys(shop)) == 1


def test_a_long_absence_is_made_up_for_with_the_newest(shops: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openclaw_dagster.compile.schedules.MOST_MISSED", 3)
    shop = shops(HOURLY, clock=VirtualClock(0))
    look(shop, NIGHT)
    look(shop, NIGHT + timedelta(days=3))
    assert len(keys(shop)) == 1 + 3 + 1
    assert keys(shop)[1] == f"{NIGHT + timedelta(days=3, hours=-3):%Y-%m-%dT%H:%M:%SZ}"
