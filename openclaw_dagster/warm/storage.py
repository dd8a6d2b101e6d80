"""Dagster's SQLite storages with connections that are kept: one file for all runs' events, no disk sync per event.

What is written here is Dagster's view of runs, for people; the truth about cases is the ledger's, which syncs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import sqlalchemy as sa
from dagster._core.storage.event_log import ConsolidatedSqliteEventLogStorage
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage

#: Seconds a writer waits for its turn.
BUSY = 30


class _Connections:
    """One pooled engine per process: SQLite connections must not cross a fork."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine: sa.Engine | None = None
        self.owner = 0

    @contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        if self.engine is None or self.owner != os.getpid():
            self.engine, self.owner = _engine(self.url), os.getpid()
        with self.engine.connect() as connection, connection.begin():
            yield connection


def _engine(url: str) -> sa.Engine:
    engine = sa.create_engine(
        url, pool_size=4, max_overflow=36, connect_args={"timeout": BUSY, "check_same_thread": False}
    )

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA synchronous=NORMAL")

    return engine


class _Kept:
    """What turns one of Dagster's SQLite storages into one over kept connections; it stands before it."""

    def __init__(self, conn_string: str, inst_data: Any = None) -> None:
        self._connections = _Connections(conn_string)
        super().__init__(conn_string, inst_data)  # type: ignore[call-arg]

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> Self:
        """Build the storage the way the instance does."""
        made: Self = cls.from_local(inst_data=inst_data, **config_value)  # type: ignore[attr-defined]
        return made

    @contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        """Give a kept connection."""
        with self._connections.connect() as connection:
            yield connection


class WarmRunStorage(_Kept, SqliteRunStorage):
    """Runs, in the stock schema, over kept connections."""


class WarmScheduleStorage(_Kept, SqliteScheduleStorage):
    """Ticks of sensors and schedules, in the stock schema, over kept connections: each tick writes five times."""


class WarmEventLogStorage(ConsolidatedSqliteEventLogStorage):
    """Events of all runs in one file, in the stock schema, over kept connections."""

    def __init__(self, base_dir: str, inst_data: Any = None) -> None:
        self._connections: _Connections | None = None
        super().__init__(base_dir, inst_data)

    @contextmanager
    def _connect(self) -> Iterator[sa.Connection]:
        if self._connections is None:
            self._connections = _Connections(self._conn_string)
        with self._connections.connect() as connection:
            yield connection

    def has_table(self, table_name: str) -> bool:
        """Tell whether the schema has a table."""
        with self._connect() as connection:
            return bool(connection.dialect.has_table(connection, table_name))
