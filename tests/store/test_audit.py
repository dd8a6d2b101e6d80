"""Verification: silent on what was written, and sure of every edit that the guards did not stop."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from openclaw_dagster.clock import DAY, HOUR, VirtualClock, day_of
from openclaw_dagster.store import seals, tally
from openclaw_dagster.store import tables as t
from openclaw_dagster.store.audit import Verdict, examine, verify
from openclaw_dagster.store.canonical import dumps, sha256
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.events import fingerprint
from openclaw_dagster.store.journal import link
from openclaw_dagster.store.ledger import Ledger
from openclaw_dagster.store.retention import shred
from openclaw_dagster.store.seals import seal

from .samples import NOW, arrival, held, live, open_cases, query, run

EDITS = 200
HISTORY = (t.events, t.journal, t.specs, t.day_heads)
Edit = Callable[[sa.Connection, random.Random], bool]


@pytest.fixture
def history(ledger: Ledger, database: Database, clock: VirtualClock) -> Database:
    """Give three sealed days and one that is not over, with the guards taken away."""
    ledger.remember_spec("d1", "orders", "1", {"a": 1})
    ledger.remember_spec("d2", "orders", "2", {"a": 2})
    for _ in range(4):
        live(ledger, 4)
        clock.advance(DAY)
        seal(database, clock.now())
    open_cases(ledger, 3, "fresh")
    assert verify(database).faults == ()
    _drop_guards(database)
    return database


def _drop_guards(database: Database) -> None:
    with database.write() as connection:
        if database.dialect == "sqlite":
            names = (
                connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'")
                .scalars()
                .all()
            )
            for name in names:
                connection.exec_driver_sql(f"DROP TRIGGER {name}")
        else:
            for table in HISTORY:
                connection.exec_driver_sql(f"ALTER TABLE {table.name} DISABLE TRIGGER USER")


def _after(database: Database, edit: Callable[[sa.Connection], Any]) -> tuple[Any, Verdict]:
    """Return what a verification says after an edit that is undone again."""
    with database.engine.connect() as connection, connection.begin() as transaction:
        done = edit(connection)
        verdict = examine(connection, external={}, most=3)
        transaction.rollback()
    return done, verdict


def _where(table: sa.Table, row: Any) -> sa.ColumnElement[bool]:
    return sa.and_(*(column == row._mapping[column.name] for column in table.primary_key))


def _pick(connection: sa.Connection, chance: random.Random, table: sa.Table) -> Any:
    return chance.choice(connection.execute(sa.select(table).order_by(*table.primary_key)).all())


def _other(value: Any, column: sa.Column[Any], chance: random.Random) -> Any:
    if isinstance(value, int):
        return value ^ (1 << chance.randrange(10, 14))  # so far off that it meets no other row
    if isinstance(value, str) and value:
        place = chance.randrange(len(value))
        return value[:place] + chr(ord(value[place]) ^ 1) + value[place + 1 :]
    return 7 if isinstance(column.type, sa.Integer) else "x"


def flip(connection: sa.Connection, chance: random.Random) -> bool:
    table = chance.choice((*HISTORY, t.cases, t.tallies))
    row = _pick(connection, chance, table)
    told = [column for column in table.columns if column.name not in ("shard", "floor", "counted")]
    column = chance.choice(told)
    value = _other(row._mapping[column.name], column, chance)
    connection.execute(sa.update(table).where(_where(table, row)).values({column.name: value}))
    return True


def empty(connection: sa.Connection, chance: random.Random) -> bool:
    table, column = chance.choice(((t.events, "payload"), (t.journal, "body")))
    rows = connection.execute(sa.select(table).where(table.c[column].isnot(None))).all()
    row = chance.choice(rows)
    far = 4 * 10**12  # as if it were to be kept for long: the sample's own retention is over by now
    connection.execute(sa.update(table).where(_where(table, row)).values({column: None, "keep_until": far}))
    return True


def delete(connection: sa.Connection, chance: random.Random) -> bool:
    table = chance.choice((*HISTORY, t.cases))
    connection.execute(sa.delete(table).where(_where(table, _pick(connection, chance, table))))
    return True


def insert(connection: sa.Connection, chance: random.Random) -> bool:
    """Add a row that is right in itself."""
    table = chance.choice((t.events, t.journal, t.specs))
    row = dict(_pick(connection, chance, table)._mapping)
    if table is t.events:
        row |= {"seq": row["seq"] + 1000, "id": row["id"] + "x"}
        row["hash"] = fingerprint(row)
    elif table is t.specs:
        row["digest"] += "x"
        row["hash"] = sha256(dumps({name: value for name, value in row.items() if name != "hash"}))
    else:
        last = connection.execute(
            sa.select(t.journal).where(t.journal.c.case_id == row["case_id"]).order_by(t.journal.c.seq.desc())
        ).first()
        assert last is not None
        row |= {"seq": last.seq + 1, "prev": last.hash}
        names = ("prev", "case_id", "seq", "at", "kind", "digest", "keep_until")
        row["hash"] = link(*(row[name] for name in names))
        change = (
            {"seq": row["seq"], "head": row["hash"]}
            if chance.random() < 0.5
            else {"updated_at": t.cases.c.updated_at}
        )
        connection.execute(sa.update(t.cases).where(t.cases.c.id == row["case_id"]).values(change))
    connection.execute(sa.insert(table).values(**row))
    return True


def swap(connection: sa.Connection, chance: random.Random) -> bool:
    """Give each of two rows what the other says, with its digest or without."""
    table, column = chance.choice(((t.events, "payload"), (t.journal, "body")))
    one, two = _pick(connection, chance, table), _pick(connection, chance, table)
    if one._mapping[column] == two._mapping[column]:
        return False
    columns = (column, "digest") if chance.random() < 0.5 else (column,)
    for row, other in ((one, two), (two, one)):
        values = {name: other._mapping[name] for name in columns}
        connection.execute(sa.update(table).where(_where(table, row)).values(values))
    return True


def cut(connection: sa.Connection, chance: random.Random) -> bool:
    """Take the last rows of a case away, and make the case say that they never were."""
    case = _pick(connection, chance, t.cases)
    keep = chance.randrange(case.seq)
    mine = t.journal.c.case_id == case.id
    connection.execute(sa.delete(t.journal).where(mine, t.journal.c.seq > keep))
    if keep and chance.random() < 0.7:
        last = connection.execute(
            sa.select(t.journal.c.hash).where(mine, t.journal.c.seq == keep)
        ).scalar_one()
        connection.execute(sa.update(t.cases).where(t.cases.c.id == case.id).values(seq=keep, head=last))
    return True


def vanish(connection: sa.Connection, chance: random.Random) -> bool:
    """Take a case away with all that speaks of it."""
    _vanish(connection, _pick(connection, chance, t.cases))
    return True


def _vanish(connection: sa.Connection, case: Any) -> None:
    connection.execute(sa.delete(t.cases).where(t.cases.c.id == case.id))
    for table in (t.journal, t.effects, t.dead_letters, t.event_keys):
        connection.execute(sa.delete(table).where(table.c.case_id == case.id))
    connection.execute(sa.delete(t.events).where(t.events.c.id == case.event_id))


def test_every_edit_is_found(history: Database) -> None:
    chance = random.Random(20260101)
    missed = []
    for number in range(EDITS):
        edit: Edit = chance.choice((flip, flip, flip, empty, delete, insert, swap, cut, vanish))
        state = chance.getstate()
        done, verdict = _after(history, lambda connection, edit=edit: edit(connection, chance))
        if done and not verdict.faults:
            missed.append((number, edit.__name__, hash(state)))
    assert missed == []
    assert verify(history).faults == ()


def test_a_flip_in_any_column_is_found(history: Database) -> None:
    chance = random.Random(20260102)

    def edit(connection: sa.Connection, column: sa.Column[Any]) -> None:
        row = _pick(connection, chance, column.table)
        value = _other(row._mapping[column.name], column, chance)
        connection.execute(sa.update(column.table).where(_where(column.table, row)).values({column: value}))

    columns = [column for table in (*HISTORY, t.cases) for column in table.columns]
    missed = [
        column
        for column in columns
        if not _after(history, lambda c, column=column: edit(c, column))[1].faults
    ]
    assert missed == []


def test_a_value_of_another_kind_is_a_fault_not_a_failure(history: Database) -> None:
    if history.dialect == "sqlite":  # Postgres keeps the kinds of its columns
        run(history, "UPDATE claw_journal SET body = x'ff00' WHERE seq = 1")
        run(
            history,
            "UPDATE claw_events SET payload = CAST(x'7bff7d' AS TEXT), received_at = 'soon' WHERE seq = 1",
        )
        run(
            history,
            "UPDATE claw_cases SET head = x'00', id = CAST(x'ff61' AS TEXT)"
            " WHERE id = (SELECT min(id) FROM claw_cases)",
        )
    run(history, "UPDATE claw_tallies SET total = 'none'")
    run(history, "UPDATE claw_day_heads SET day = 'on ' || day")
    assert verify(history).faults


def test_a_verdict_counts_what_it_read(history: Database) -> None:
    verdict = verify(history)
    tables = ("claw_cases", "claw_journal", "claw_events", "claw_day_heads")
    counts = tuple(query(history, f"SELECT count(*) FROM {table}")[0][0] for table in tables)
    assert (verdict.cases, verdict.rows, verdict.events, verdict.days) == counts


def test_only_so_many_faults_are_named(history: Database) -> None:
    run(history, "UPDATE claw_journal SET kind = 'x'")
    assert len(verify(history, most=5).faults) == 5


def test_days_are_sealed_once_when_they_are_over(
    ledger: Ledger, database: Database, clock: VirtualClock
) -> None:
    live(ledger, 2)
    assert seal(database, NOW + DAY).made == ()
    clock.advance(3 * DAY)
    live(ledger, 2)
    made = seal(database, NOW + 3 * DAY + HOUR).made
    assert [day for day, _ in made] == [day_of(NOW + days * DAY) for days in range(3)]
    assert seal(database, NOW + 3 * DAY + HOUR).made == ()
    assert verify(database, external=dict(made)).faults == ()


def test_an_empty_ledger_has_nothing_to_seal(database: Database) -> None:
    assert seal(database, NOW).made == ()
    assert verify(database).faults == ()


def test_a_late_clock_dates_nothing_into_a_sealed_day(
    ledger: Ledger, database: Database, clock: VirtualClock
) -> None:
    live(ledger, 2)
    seal(database, NOW + DAY + HOUR)
    clock.at = NOW + HOUR  # a machine whose clock is a day late
    [receipt] = ledger.receive([arrival("late")])
    assert ledger.events([receipt.event_id])[receipt.event_id].received_at == NOW + DAY
    assert verify(database).faults == ()


def test_a_rewritten_seal_is_found_by_what_is_kept_elsewhere(history: Database) -> None:
    """Somebody takes a case away and makes everything in the database agree with it."""
    external = {row.day: row.hash for row in query(history, "SELECT day, hash FROM claw_day_heads")}
    with history.write() as connection:
        case = connection.execute(sa.select(t.cases).order_by(t.cases.c.id)).first()
        _vanish(connection, case)
        connection.execute(sa.delete(t.day_heads))
        connection.execute(sa.update(t.tallies).values(rows=0, total="0"))
        count = tally.take_all(connection)
        for table in (t.events, t.journal, t.specs):
            count.add(connection.execute(sa.select(table.c.hash)).scalars())
        tally.keep(connection, count)
    seals.seal(history, NOW + 4 * DAY + HOUR)
    assert verify(history).faults == ()
    found = verify(history, external=external).faults
    assert {fault.where for fault in found} == {f"day {day}" for day in external}


def test_seals_that_were_taken_away_are_missed(history: Database) -> None:
    run(history, "DELETE FROM claw_day_heads WHERE day > :day", day=day_of(NOW))
    assert verify(history).faults


def test_shredded_history_still_verifies(history: Database) -> None:
    assert shred(history, NOW + 400 * DAY) > 0
    verdict = verify(history)
    assert verdict.faults == ()
    body = query(history, "SELECT body FROM claw_journal WHERE seq = 1")[0][0]
    assert body is None or json.loads(body)


def test_a_busy_ledger_verifies(ledger: Ledger, database: Database) -> None:
    """Verification sees one moment, whatever is written while it reads."""
    from threading import Event, Thread

    open_cases(ledger, 30)
    stop = Event()

    def work() -> None:
        while not stop.is_set():
            live(ledger, 3)
            held(ledger, limit=3)

    writer = Thread(target=work)
    writer.start()
    try:
        assert [verify(database).faults for _ in range(15)] == [()] * 15
    finally:
        stop.set()
        writer.join()
