"""The database itself keeps history as it was written, whoever asks it to forget."""

from __future__ import annotations

import pytest
from sqlalchemy import exc

from openclaw_dagster.clock import DAY, HOUR, SystemClock, VirtualClock
from openclaw_dagster.store.audit import verify
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.ledger import Ledger, with_fence
from openclaw_dagster.store.retention import shred
from openclaw_dagster.store.seals import seal

from .samples import NOW, arrival, closed, held, live, query, run

COLUMNS = {
    "claw_events": (
        "seq",
        "id",
        "system",
        "name",
        "source",
        "key",
        "case_id",
        "payload",
        "digest",
        "received_at",
        "keep_until",
        "traceparent",
        "hash",
    ),
    "claw_journal": ("case_id", "seq", "at", "kind", "body", "digest", "prev", "hash", "keep_until"),
    "claw_specs": ("digest", "system", "version", "bundle", "first_seen", "hash"),
    "claw_day_heads": ("day", "rows", "digest", "prev", "hash"),
}
NUMBERS = {"seq", "received_at", "keep_until", "at", "first_seen", "rows"}


@pytest.fixture
def kept(ledger: Ledger, database: Database, clock: VirtualClock) -> Database:
    """Give a history with a row in each table, all of it long past its retention."""
    ledger.remember_spec("d1", "orders", "1", {"a": 1})
    live(ledger, 2)
    clock.advance(DAY + HOUR)
    seal(database, clock.now())
    return database


def _refused(database: Database, statement: str) -> None:
    with pytest.raises(exc.DBAPIError, match="append-only"):
        run(database, statement)


@pytest.mark.parametrize(
    ("table", "column"), [(table, column) for table, columns in COLUMNS.items() for column in columns]
)
def test_no_column_can_be_changed(kept: Database, table: str, column: str) -> None:
    if column in NUMBERS:
        _refused(kept, f'UPDATE {table} SET "{column}" = "{column}" + 1')
    else:
        _refused(kept, f"UPDATE {table} SET \"{column}\" = 'x'")


@pytest.mark.parametrize("table", COLUMNS)
def test_no_row_can_be_taken_away(kept: Database, table: str) -> None:
    _refused(kept, f"DELETE FROM {table}")
    if kept.dialect == "postgresql":
        _refused(kept, f"TRUNCATE {table}")


@pytest.mark.parametrize("table", COLUMNS)
def test_no_row_can_be_replaced(kept: Database, table: str) -> None:
    columns = ", ".join(f'"{column}"' for column in COLUMNS[table])
    if kept.dialect == "sqlite":
        _refused(kept, f"INSERT OR REPLACE INTO {table} ({columns}) SELECT {columns} FROM {table}")
        return
    key = "case_id, seq" if table == "claw_journal" else f'"{COLUMNS[table][0]}"'
    _refused(kept, f"INSERT INTO {table} SELECT * FROM {table} ON CONFLICT ({key}) DO UPDATE SET hash = 'x'")


def test_an_event_cannot_be_replaced_under_another_number(kept: Database) -> None:
    columns = ", ".join(f'"{column}"' for column in COLUMNS["claw_events"])
    other = columns.replace('"seq"', '"seq" + 1000')
    verb = "INSERT OR REPLACE" if kept.dialect == "sqlite" else "INSERT"
    with pytest.raises(exc.IntegrityError):
        run(kept, f"{verb} INTO claw_events ({columns}) SELECT {other} FROM claw_events")


def test_texts_are_shredded_once_their_time_is_over(
    ledger: Ledger, database: Database, clock: VirtualClock
) -> None:
    live(ledger, 3)
    assert shred(database, NOW + 30 * DAY - 1) == 0
    # of two cases that have ended the payloads and all lines; the third goes on
    ended = "SELECT id FROM claw_cases WHERE state IN ('completed', 'dead_lettered')"
    lines = query(database, f"SELECT count(*) FROM claw_journal WHERE case_id IN ({ended})")[0][0]
    assert shred(database, NOW + 30 * DAY) == 2 + lines
    assert query(database, "SELECT count(*) FROM claw_journal WHERE body IS NULL")[0][0] == lines
    assert query(database, "SELECT count(*) FROM claw_events WHERE payload IS NULL")[0][0] == 2
    assert verify(database).faults == ()
    assert shred(database, NOW + 30 * DAY) == 0


def test_nothing_is_shredded_before_its_time(database: Database) -> None:
    ledger = Ledger(database, SystemClock())
    live(ledger, 2)
    _refused(database, "UPDATE claw_events SET payload = NULL")
    _refused(database, "UPDATE claw_journal SET body = NULL")
    assert (
        shred(database, SystemClock().now() + 10_000 * DAY) == 0
    )  # a clock that runs ahead shreds nothing, and fails nothing
    assert verify(database).faults == ()


def test_a_case_keeps_its_payload_until_it_has_ended(
    ledger: Ledger, database: Database, clock: VirtualClock
) -> None:
    [receipt] = ledger.receive([arrival("A1", retention=0)])
    assert shred(database, NOW) == 0
    assert ledger.events([receipt.event_id])[receipt.event_id].payload == {"order": "A1"}
    (case,) = held(ledger)
    assert shred(database, NOW) == 0
    ledger.write([with_fence(case, closed())])
    assert shred(database, NOW) == 5  # the payload, and what opened, claimed, started and closed the case
    assert ledger.events([receipt.event_id])[receipt.event_id].payload is None
    assert verify(database).faults == ()


def test_many_texts_are_shredded_in_turns(ledger: Ledger, database: Database) -> None:
    ledger.receive([arrival(f"k{i}", retention=0) for i in range(1100)])
    while cases := held(ledger):
        ledger.write([with_fence(case, closed()) for case in cases])
    assert shred(database, NOW) == 5 * 1100
