"""The triggers by which the database itself refuses to change or delete history."""

from __future__ import annotations

import sqlalchemy as sa

from openclaw_dagster.store.tables import APPEND_ONLY, metadata

_SQLITE_NOW = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"


def statements(dialect: str) -> list[str]:
    """Return the DDL of all guards for `sqlite` or `postgresql`."""
    made: list[str] = []
    for table, shredded in APPEND_ONLY.items():
        kept = [c.name for c in metadata.tables[table].columns if c.name != shredded]
        made += _sqlite(table, shredded, kept) if dialect == "sqlite" else _postgres(table, shredded, kept)
    for table in ("claw_specs", "claw_day_heads"):
        made += _sqlite(table, None, []) if dialect == "sqlite" else _postgres(table, None, [])
    return made


def install(connection: sa.Connection) -> None:
    """Create the guards in a database whose tables exist."""
    for statement in statements(connection.dialect.name):
        connection.exec_driver_sql(statement)


def _sqlite(table: str, shredded: str | None, kept: list[str]) -> list[str]:
    refuse = f"SELECT RAISE(ABORT, '{table} is append-only')"
    allowed = "0"
    if shredded:
        same = " AND ".join(f'NEW."{name}" IS OLD."{name}"' for name in kept)
        allowed = f'NEW."{shredded}" IS NULL AND OLD.keep_until <= {_SQLITE_NOW} AND {same}'
    return [
        f"CREATE TRIGGER {table}_keep_rows BEFORE DELETE ON {table} BEGIN {refuse}; END",
        f"CREATE TRIGGER {table}_keep_values BEFORE UPDATE ON {table} WHEN NOT ({allowed}) BEGIN {refuse}; END",
    ]


def _postgres(table: str, shredded: str | None, kept: list[str]) -> list[str]:
    allowed = "false"
    if shredded:
        same = " AND ".join(f'NEW."{name}" IS NOT DISTINCT FROM OLD."{name}"' for name in kept)
        allowed = (
            f'NEW."{shredded}" IS NULL AND OLD.keep_until <= (extract(epoch FROM clock_timestamp()) * 1000)::bigint AND {same}'
        )
    # a percent sign would be taken for a parameter by the driver, so the message is put together without one
    body = (
        "BEGIN "
        f"IF TG_OP = 'UPDATE' THEN IF {allowed} THEN RETURN NEW; END IF; END IF; "
        f"RAISE EXCEPTION USING MESSAGE = '{table} is append-only'; END"
    )
    return [
        f"CREATE FUNCTION {table}_guard() RETURNS trigger LANGUAGE plpgsql AS $guard$ {body} $guard$",
        f"CREATE TRIGGER {table}_keep_rows BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_guard()",
        f"CREATE TRIGGER {table}_keep_all BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {table}_guard()",
    ]
