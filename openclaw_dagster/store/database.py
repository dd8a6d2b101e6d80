"""The engine: one door to SQLite or Postgres, transactions that either hold or never were, migrations."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from openclaw_dagster.errors import ClawError

SCHEMA = "0006"
#: Bytes that have to be free beside a SQLite ledger: an event of the largest size, and what its case writes.
LEAST_FREE = 2 * 1024 * 1024
_LOCK = 0x0C1A3  # the advisory lock under which Postgres is migrated


class DatabaseAway(ClawError):
    """The ledger's database does not answer ({problem}). Nothing was acknowledged; it will be tried again."""

    code = "CLAW201"


class SchemaTooNew(ClawError):
    """The ledger has schema {found}, and this version knows {known}: install the version that wrote it,
    or a newer one.
    """

    code = "CLAW202"


def address(url: str) -> sa.URL:
    """Return the database's address with the one driver per database that is supported."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg2")
    return parsed.set(drivername="sqlite")


def relaxed(url: str) -> str:
    """Return the address of the same database for what may lose its last moment in a power cut, and no more."""
    parsed = address(url)
    if parsed.get_backend_name() == "postgresql" and "options" not in parsed.query:
        parsed = parsed.update_query_dict({"options": "-c synchronous_commit=off"})
    return parsed.render_as_string(hide_password=False)


class Database:
    """An engine and its transactions; a file that is thrown away need not outlast a power cut."""

    def __init__(self, url: str, *, lasting: bool = True) -> None:
        self.url = address(url)
        self.dialect = self.url.get_backend_name()
        self.engine = _sqlite(self.url, lasting) if self.dialect == "sqlite" else _postgres(self.url)
        self._writing = self.engine.execution_options(claw_writes=True)
        self._reading = self.engine
        if self.dialect == "postgresql":
            self._reading = self.engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )

    @contextmanager
    def read(self, *, damaged: bool = False) -> Iterator[sa.Connection]:
        """Give a connection that sees one state of the ledger; DatabaseAway when it cannot be had.

        With `damaged`, bytes that are no text come as replacement characters: an audit can name their row.
        """
        with _away(), self._reading.connect() as connection, connection.begin():
            file: Any = connection.connection.dbapi_connection
            if not damaged or self.dialect != "sqlite":
                yield connection
                return
            file.text_factory = _any_text
            try:
                yield connection
            finally:
                file.text_factory = str

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Give a connection whose work is committed as one, or not at all; DatabaseAway when it was not."""
        with _away(), self._writing.connect() as connection, connection.begin():
            yield connection

    def migrate(self) -> None:
        """Bring the schema up to date, once, whoever else starts now; SchemaTooNew when it is ahead."""
        if self.schema() == SCHEMA:
            return
        if self.dialect == "sqlite" and self.url.database:
            try:
                Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise DatabaseAway(problem=str(error)) from error
        with self.write() as connection:
            if self.dialect == "postgresql":
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            found = _version(connection)
            if found is not None and found > SCHEMA:
                raise SchemaTooNew(found=found, known=SCHEMA)
            if found != SCHEMA:
                _upgrade(connection)

    def schema(self) -> str | None:
        """Return the schema's version, or None for a database that has none yet."""
        if self.dialect == "sqlite" and not Path(self.url.database or "").exists():
            return None
        with self.read() as connection:
            return _version(connection)

    def writable(self) -> None:
        """Find out whether an event could be written, as on a full disk it cannot; DatabaseAway when not.

        SQLite writes a little into room that it has already, so its disk is asked too.
        """
        if self.dialect == "sqlite" and self.url.database:
            folder = Path(self.url.database).parent
            free = shutil.disk_usage(folder).free if folder.exists() else 0
            if free < LEAST_FREE:
                raise DatabaseAway(problem=f"its disk is full: {free // 1024} KiB are free in {folder}")
        with self.write() as connection:
            connection.exec_driver_sql("UPDATE claw_tallies SET floor = floor WHERE shard = 0")

    def forget_connections(self) -> None:
        """Drop connections inherited over a fork without closing them under the parent."""
        self.engine.dispose(close=False)

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def _version(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("claw_schema_version"):
        return None
    return connection.exec_driver_sql("SELECT version_num FROM claw_schema_version").scalar()


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _any_text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


@contextmanager
def _away() -> Iterator[None]:
    """Turn what a driver says when the database is not there, or has no room, into one error."""
    try:
        yield
    except exc.TimeoutError as error:
        raise DatabaseAway(problem="every connection is in use") from error
    except exc.DBAPIError as error:
        if not _is_away(error):
            raise
        cause = str(error.orig or error).strip().splitlines()
        raise DatabaseAway(problem=cause[0][:200] if cause else type(error).__name__) from error


def _is_away(error: exc.DBAPIError) -> bool:
    if isinstance(error, exc.OperationalError | exc.InterfaceError) or error.connection_invalidated:
        return True
    # a standby that has not been promoted yet refuses to write; a damaged file is no file
    return getattr(error.orig, "pgcode", None) == "25006" or type(error.orig) is sqlite3.DatabaseError


def _sqlite(url: sa.URL, lasting: bool) -> sa.Engine:
    engine = sa.create_engine(
        url, connect_args={"timeout": 20, "check_same_thread": False}, pool_size=8, max_overflow=24
    )

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # transactions are ours: the driver begins none by itself
        for pragma in (f"synchronous={'FULL' if lasting else 'OFF'}", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")
        _keep_a_log(connection)

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # a writer takes its place in line at once: a reader that turns writer could not be let through
        writes = connection.get_execution_options().get("claw_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _keep_a_log(connection: sqlite3.Connection) -> None:
    """Let readers and a writer work side by side; of processes that ask at once, all but one are refused."""
    for patience in range(100):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if patience == 99 or error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            time.sleep(0.05)


def _postgres(url: sa.URL) -> sa.Engine:
    return sa.create_engine(
        url,
        pool_size=8,
        max_overflow=24,
        pool_timeout=10,
        pool_pre_ping=True,
        executemany_mode="values_plus_batch",
        connect_args={
            "connect_timeout": 5,
            "application_name": "openclaw",
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 20_000,
            # a process that freezes while it writes must not hold what it locked for ever
            "options": "-c idle_in_transaction_session_timeout=60s -c lock_timeout=20s",
        },
    )
