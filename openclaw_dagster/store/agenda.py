"""Who is next: the due cases of a system in the order in which they are claimed, and one dispatcher at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from openclaw_dagster.store import tables as t
from openclaw_dagster.store.database import Database

#: The advisory lock of the dispatcher whose turn it is, on Postgres.
_TURN = 0x0C1A4


@dataclass(frozen=True, slots=True)
class Waiting:
    """A due case, as far as its turn and the tags of its run depend on it."""

    id: str
    trigger: str
    digest: str
    rank: int
    due_at: int


def waiting(database: Database, system: str, now: int, limit: int) -> list[Waiting]:
    """Return the due cases of a system that a claim would take first, at most `limit`."""
    cases = t.cases.c
    query = sa.select(cases.id, cases.trigger, cases.digest, cases.rank, cases.due_at)
    found: list[Waiting] = []
    with database.read() as connection:
        for (
            rank
        ) in t.RANKS:  # one by one: each is read from its begin, and what waits for later is not passed over
            due = query.where(cases.system == system, cases.rank == rank, cases.due_at <= now)
            due = due.order_by(cases.due_at, cases.id).limit(limit - len(found))
            found += [Waiting(*row) for row in connection.execute(due)]
    return found


@contextmanager
def turn(database: Database) -> Iterator[bool]:
    """Tell whether nobody else dispatches from this ledger right now, and keep others from it meanwhile."""
    if database.dialect == "sqlite":
        with Path(f"{database.url.database}-turn").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        return
    with database.write() as connection:
        yield bool(connection.exec_driver_sql(f"SELECT pg_try_advisory_xact_lock({_TURN})").scalar())
