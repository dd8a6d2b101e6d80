"""Days that are over are sealed: one hash over all that was written in them, bound to the day before."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import sqlalchemy as sa

from openclaw_dagster.clock import DAY, MINUTE, day_of
from openclaw_dagster.store import tables as t
from openclaw_dagster.store import tally
from openclaw_dagster.store.canonical import dumps, sha256
from openclaw_dagster.store.database import Database

#: The text the chain of days begins with.
GENESIS = sha256("openclaw journal 1")
#: A day is sealed this long (ms) after it ended: a clock that is a little late need not be corrected.
SETTLE = 10 * MINUTE


def seal(database: Database, now: int) -> list[tuple[str, str]]:
    """Seal every day that is over, oldest first; return (day, seal) of each new one, to be kept elsewhere."""
    made: list[tuple[str, str]] = []
    with database.write() as connection:
        count = tally.take_all(connection)
        begin, prev = _next(connection, now)
        while begin + DAY + SETTLE <= now:
            day = day_of(begin)
            rows, digest = content(connection, day)
            head = bind(prev, day, rows, digest)
            connection.execute(
                sa.insert(t.day_heads).values(day=day, rows=rows, digest=digest, prev=prev, hash=head)
            )
            made.append((day, head))
            prev, begin = head, begin + DAY
        if made:
            count.add(head for _, head in made)
            tally.keep(connection, count)
            tally.raise_floor(connection, begin)
    return made


def _next(connection: sa.Connection, now: int) -> tuple[int, str]:
    """Return when the first day begins that is not sealed, and what it is bound to."""
    last = connection.execute(sa.select(t.day_heads).order_by(t.day_heads.c.day.desc()).limit(1)).first()
    if last:
        return begin_of(last.day) + DAY, last.hash
    first = connection.execute(sa.select(sa.func.min(t.events.c.received_at))).scalar()
    return (begin_of(day_of(first)) if first is not None else now), GENESIS


def bind(prev: str, day: str, rows: int, digest: str) -> str:
    """Return the seal of a day: over what it holds and over all days before it."""
    return sha256(dumps([prev, day, rows, digest]))


def content(connection: sa.Connection, day: str) -> tuple[int, str]:
    """Return how many rows were written in a day, and one digest over all of them."""
    rows, text = 0, sha256(day)
    for value in _hashes(connection, begin_of(day)):
        rows += 1
        text = sha256(text + value)
    return rows, text


def _hashes(connection: sa.Connection, begin: int) -> Iterator[str]:
    # in the order of the hashes: hex digits sort alike whatever the database's language is
    for table, at in ((t.journal, t.journal.c.at), (t.events, t.events.c.received_at)):
        query = sa.select(table.c.hash).where(at >= begin, at < begin + DAY).order_by(table.c.hash)
        yield from connection.execute(query, execution_options={"yield_per": 1000}).scalars()


def begin_of(day: str) -> int:
    """Return the first millisecond of a UTC day."""
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000
