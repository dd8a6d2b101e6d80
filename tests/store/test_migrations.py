"""A ledger that began with the first schema ends with the one the code describes, its history as it was."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from openclaw_dagster.clock import DAY, VirtualClock
from openclaw_dagster.store import database as module
from openclaw_dagster.store import guards, tally
from openclaw_dagster.store import tables as t
from openclaw_dagster.store.audit import verify
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.ledger import Ledger
from openclaw_dagster.store.seals import seal

from .samples import held, live, open_cases, query, run


@pytest.fixture
def other(request: pytest.FixtureRequest, database: Database, tmp_path: Any) -> Iterator[Database]:
    """Give a second database of the same kind, which is empty."""
    if database.dialect == "sqlite":
        made = Database(f"sqlite:///{tmp_path / 'other.db'}")
    else:
        made = Database(request.getfixturevalue("postgres").fresh())
    yield made
    made.close()


def begin_with(database: Database, revision: str) -> None:
    """Make a ledger of an earlier schema, as the version of that time did."""
    config = Config()
    config.set_main_option("script_location", str(module.Path(module.__file__).parent / "migrations"))
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def schema(database: Database) -> dict[str, Any]:
    """Return everything that makes a difference in a schema, by name."""
    told = _sqlite if database.dialect == "sqlite" else _postgres
    with database.read() as connection:
        return {name: said for name, said in told(connection) if "claw_schema_version" not in name}


def _sqlite(connection: sa.Connection) -> Iterator[tuple[str, Any]]:
    for kind, name, text in connection.exec_driver_sql("SELECT type, name, sql FROM sqlite_master").all():
        if kind == "table":
            columns = connection.exec_driver_sql(f"PRAGMA table_xinfo({name})").all()
            yield name, [tuple(column[1:]) for column in columns]
            for index in connection.exec_driver_sql(f"PRAGMA index_list({name})").all():
                keys = connection.exec_driver_sql(f"PRAGMA index_xinfo({index[1]})").all()
                yield f"{index[1]} of {name}", (tuple(index[2:]), [tuple(key) for key in keys])
        else:
            yield name, " ".join((text or "").split())


def _postgres(connection: sa.Connection) -> Iterator[tuple[str, Any]]:
    for table, *column in connection.exec_driver_sql(
        "SELECT table_name, column_name, ordinal_position, data_type, is_nullable, column_default, "
        "col_description(table_name::regclass, ordinal_position) "
        "FROM information_schema.columns WHERE table_name LIKE 'claw_'||chr(37)"
    ):
        yield f"{table}.{column[0]}", column[1:]
    for name, text in connection.exec_driver_sql(
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
    ):
        yield name, text
    for name, text in connection.exec_driver_sql(
        "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal"
    ):
        yield name, text
    for name, text in connection.exec_driver_sql(
        "SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
    ):
        yield name, re.sub(r"\s+", " ", text)


def test_the_migrations_lead_to_the_schema_that_the_code_describes(
    database: Database, other: Database
) -> None:
    with other.write() as connection:
        t.metadata.create_all(connection)
        guards.install(connection)
    described, migrated = schema(other), schema(database)
    assert len(described) > 40
    assert migrated == described


def test_a_ledger_of_the_first_schema_ends_with_the_same_one(database: Database, other: Database) -> None:
    begin_with(other, "0001")
    assert other.schema() == "0001"
    assert schema(other) != schema(database)
    other.migrate()
    assert other.schema() == module.SCHEMA
    assert schema(other) == schema(database)


def test_history_comes_along(database: Database, other: Database, clock: VirtualClock) -> None:
    ledger = Ledger(database, clock)
    live(ledger, 8)
    live(ledger, 5)
    begin_with(other, "0001")
    _copy(database, other)
    other.migrate()
    moved = Ledger(other, clock)
    assert moved.counts() == ledger.counts() != {}
    assert verify(other).faults == ()
    live(moved, 4)
    assert moved.counts() == tally_of(other)
    assert verify(other).faults == ()


def _copy(source: Database, target: Database) -> None:
    """Bring all rows into a ledger of an earlier schema."""
    with target.write() as connection, source.read() as reading:
        connection.exec_driver_sql("DELETE FROM claw_tallies")
        known = sa.MetaData()
        known.reflect(connection)
        for table in t.metadata.sorted_tables:
            if table.name not in known.tables:
                continue
            names = [column.name for column in known.tables[table.name].columns]
            rows = [{name: row._mapping[name] for name in names} for row in reading.execute(sa.select(table))]
            if rows:
                connection.execute(sa.insert(known.tables[table.name]), rows)
        if connection.dialect.name == "postgresql":
            last = "SELECT setval(pg_get_serial_sequence('claw_events', 'seq'), max(seq)) FROM claw_events"
            connection.exec_driver_sql(last)


def tally_of(database: Database) -> dict[tuple[str, str], int]:
    """Count all cases one by one."""
    with database.read() as connection:
        return dict(tally.count(connection))


def test_what_a_version_wrote_that_does_not_count_is_counted_until_the_next_seal_sets_it_right(
    database: Database, ledger: Ledger, clock: VirtualClock
) -> None:
    live(ledger, 8)
    before = [tuple(row) for row in query(database, "SELECT shard, counts, counted FROM claw_tallies")]
    open_cases(ledger, 3, "older")
    for shard, counts, counted in before:  # that version knows nothing of these two columns
        statement = "UPDATE claw_tallies SET counts = :counts, counted = :counted WHERE shard = :shard"
        run(database, statement, shard=shard, counts=counts, counted=counted)
    assert ledger.counts() == tally_of(database)
    held(ledger, 2)
    assert ledger.counts() == tally_of(database)
    assert verify(database).faults == ()
    assert _sum(database) != tally_of(database)
    clock.advance(DAY)
    seal(database, clock.now())
    assert _sum(database) == tally_of(database) == ledger.counts()


def _sum(database: Database) -> dict[tuple[str, str], int]:
    with database.read() as connection:
        return {place: number for place, number in tally.read(connection).cases.items() if number}


def test_postgres_tidies_up_by_the_number_of_changes(database: Database) -> None:
    if database.dialect == "sqlite":
        pytest.skip("SQLite writes in place")
    [[options]] = query(database, "SELECT reloptions FROM pg_class WHERE relname = 'claw_cases'")
    assert "autovacuum_vacuum_scale_factor=0.01" in options
