"""The triggers by which the database itself refuses to change, replace or delete history."""

from __future__ import annotations

import sqlalchemy as sa

from openclaw_dagster.store.tables import APPEND_ONLY, metadata

#: The database's own clock, in milliseconds since 1970.
NOW: dict[str, str] = {
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)",
}


def statements(dialect: str) -> list[str]:
    """Return the DDL of all guards for `sqlite` or `postgresql`."""
    make = _sqlite if dialect == "sqlite" else _postgres
    return [statement for table, shredded in APPEND_ONLY.items() for statement in make(table, shredded)]


def install(connection: sa.Connection) -> None:
    """Create the guards in a database whose tables exist."""
    for statement in statements(connection.dialect.name):
        connection.exec_driver_sql(statement)


def _allowed(table: str, shredded: str | None, same: str, now: str) -> str:
    """Return the one condition under which a row may change: its text is shredded in time, all else stays."""
    if shredded is None:
        return "1 = 0"
    kept = [column.name for column in metadata.tables[table].columns if column.name != shredded]
    stays = " AND ".join(f'NEW."{name}" {same} OLD."{name}"' for name in kept)
    return f'NEW."{shredded}" IS NULL AND OLD.keep_until <= {now} AND {stays}'


def _sqlite(table: str, shredded: str | None) -> list[str]:
    refuse = f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    allowed = _allowed(table, shredded, "IS", NOW["sqlite"])
    # INSERT OR REPLACE deletes the old row without telling any trigger of deletion
    primary = " AND ".join(
        f'"{column.name}" = NEW."{column.name}"' for column in metadata.tables[table].primary_key
    )
    unique = [
        f'"{column.name}" = NEW."{column.name}"' for column in metadata.tables[table].columns if column.unique
    ]
    taken = " OR ".join(f"EXISTS (SELECT 1 FROM {table} WHERE {one})" for one in (primary, *unique))
    return [
        f"CREATE TRIGGER {table}_keep_rows BEFORE DELETE ON {table} {refuse}",
        f"CREATE TRIGGER {table}_keep_values BEFORE UPDATE ON {table} WHEN NOT ({allowed}) {refuse}",
        f"CREATE TRIGGER {table}_keep_places BEFORE INSERT ON {table} WHEN {taken} {refuse}",
    ]


def _postgres(table: str, shredded: str | None) -> list[str]:
    allowed = _allowed(table, shredded, "IS NOT DISTINCT FROM", NOW["postgresql"])
    # a percent sign would be taken for a parameter by the driver, so the message is put together without one
    body = (
        "BEGIN "
        f"IF TG_OP = 'UPDATE' THEN IF {allowed} THEN RETURN NEW; END IF; END IF; "
        f"RAISE EXCEPTION USING MESSAGE = '{table} is append-only', "
        "ERRCODE = 'integrity_constraint_violation'; END"
    )
    call = f"EXECUTE FUNCTION {table}_guard()"
    return [
        f"CREATE FUNCTION {table}_guard() RETURNS trigger LANGUAGE plpgsql AS $guard$ {body} $guard$",
        f"CREATE TRIGGER {table}_keep_rows BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW {call}",
        f"CREATE TRIGGER {table}_keep_all BEFORE TRUNCATE ON {table} FOR EACH STATEMENT {call}",
    ]
