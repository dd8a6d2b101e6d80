"""What the simulated outside world remembers: one SQLite file, shared by every process of the project."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from weakref import WeakSet

from openclaw_dagster.adapters.outcome import JSON

BUSY_SECONDS = 5.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    number INTEGER PRIMARY KEY, adapter TEXT NOT NULL, operation TEXT NOT NULL, key TEXT NOT NULL,
    args TEXT NOT NULL, result TEXT NOT NULL, at INTEGER NOT NULL,
    undone INTEGER NOT NULL DEFAULT 0, calls INTEGER NOT NULL DEFAULT 1,
    UNIQUE (adapter, operation, key)
);
CREATE TABLE IF NOT EXISTS faults (
    adapter TEXT NOT NULL, fault TEXT NOT NULL, key TEXT NOT NULL, spent INTEGER NOT NULL,
    PRIMARY KEY (adapter, fault, key)
);
"""
_COLUMNS = "adapter, operation, key, args, result, at, undone, calls"


@dataclass(frozen=True)
class Record:
    """One write the simulated service accepted."""

    adapter: str
    operation: str
    key: str
    args: dict[str, JSON]
    result: JSON
    #: When it was accepted, in milliseconds since 1970.
    at: int
    undone: bool = False
    #: How often it was sent; more than once is a repetition that the key made harmless.
    calls: int = 1


class Memory:
    """Opens `simulator.db`; one connection per process, used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None
        _memories.add(self)

    @contextmanager
    def open(self) -> Iterator[Records]:
        """Enter one transaction: committed at the end, rolled back by an exception; sqlite3.Error."""
        with self._lock:
            if self._connection is None:
                self._connection = _connect(self.path)
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield Records(self._connection)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the connection; it is made again when it is needed."""
        with self._lock:
            self._drop()

    def before_fork(self) -> None:
        """Let the running transaction end, and keep others from beginning."""
        self._lock.acquire()
        self._drop()

    def after_fork(self) -> None:
        """Go on, in the parent and in the child, each with a connection of its own."""
        self._lock.release()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _connect(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.executescript(_SCHEMA)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


# SQLite keeps its locks in memory, by file: a child forked while one is held finds the file locked for ever.
_memories: WeakSet[Memory] = WeakSet()
_forking: list[Memory] = []


def _before_fork() -> None:
    _forking[:] = list(_memories)
    for memory in _forking:
        memory.before_fork()


def _after_fork() -> None:
    while _forking:
        _forking.pop().after_fork()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)


class Records:
    """What can be asked of the memory and put into it, inside one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def all(self, adapter: str) -> list[Record]:
        """Return every record of the adapter, in the order the outside saw them."""
        return self._select("WHERE adapter = ? ORDER BY number", (adapter,))

    def standing(self, adapter: str, operations: tuple[str, ...], key: str | None = None) -> list[Record]:
        """Return the records of these operations that were not undone, newest first; or those under `key`."""
        places = ", ".join("?" * len(operations))
        where = f"WHERE adapter = ? AND operation IN ({places}) AND NOT undone"
        if key is None:
            return self._select(f"{where} ORDER BY number DESC", (adapter, *operations))
        return self._select(f"{where} AND key = ? ORDER BY number DESC", (adapter, *operations, key))

    def repeat(self, adapter: str, operation: str, key: str) -> Record | None:
        """Return the record that stands under the key already, one more call counted."""
        where = "WHERE adapter = ? AND operation = ? AND key = ?"
        self._connection.execute(f"UPDATE records SET calls = calls + 1 {where}", (adapter, operation, key))
        return next(iter(self._select(where, (adapter, operation, key))), None)

    def count(self, adapter: str, operation: str) -> int:
        """Return how many records the operation has, undone ones included."""
        where = "SELECT count(*) FROM records WHERE adapter = ? AND operation = ?"
        return int(self._connection.execute(where, (adapter, operation)).fetchone()[0])

    def add(self, record: Record) -> None:
        """Store a record under its key, which must be new."""
        self._connection.execute(
            f"INSERT INTO records ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, 0, 1)",
            (
                record.adapter,
                record.operation,
                record.key,
                json.dumps(record.args),
                json.dumps(record.result),
                record.at,
            ),
        )

    def undo(self, record: Record) -> None:
        """Mark a record as taken back."""
        self._connection.execute(
            "UPDATE records SET undone = 1 WHERE adapter = ? AND operation = ? AND key = ?",
            (record.adapter, record.operation, record.key),
        )

    def spend(self, adapter: str, fault: str, key: str) -> int:
        """Count one use of a fault by a call, and return how often that call has met it."""
        row = self._connection.execute(
            "INSERT INTO faults VALUES (?, ?, ?, 1)"
            " ON CONFLICT DO UPDATE SET spent = spent + 1 RETURNING spent",
            (adapter, fault, key),
        ).fetchone()
        return int(row[0])

    def _select(self, where: str, values: tuple[str, ...]) -> list[Record]:
        rows = self._connection.execute(f"SELECT {_COLUMNS} FROM records {where}", values).fetchall()
        return [
            Record(adapter, operation, key, json.loads(args), json.loads(result), at, bool(undone), calls)
            for adapter, operation, key, args, result, at, undone, calls in rows
        ]
