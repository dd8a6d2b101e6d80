"""Days that are over are sealed: one hash over all that was written in them, bound to the day before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from openclaw_dagster.clock import DAY, HOUR, MINUTE, day_of, iso
from openclaw_dagster.store import tables as t
from openclaw_dagster.store import tally
from openclaw_dagster.store.canonical import dumps, sha256
from openclaw_dagster.store.clocks import of_database
from openclaw_dagster.store.database import Database

#: The text the chain of days begins with.
GENESIS = sha256("openclaw journal 1")
#: A day is sealed this long (ms) after it ended: a clock that is a little late need not be corrected.
SETTLE = 10 * MINUTE
#: A clock that is this far (ms) ahead of the database's seals nothing; less than SETTLE, so no day is sealed too early.
AHEAD = 5 * MINUTE
#: A clock by which nothing was written for longer (ms) is not believed: a day with anything in it is over by then.
SILENCE = DAY + 2 * HOUR
#: When the newest rows of history were written.
_NEWEST = (sa.select(sa.func.max(t.journal.c.at)), sa.select(sa.func.max(t.events.c.received_at)))


@dataclass(frozen=True, slots=True)
class Sealing:
    """What came of sealing: each new day with its seal, oldest first, to be kept elsewhere."""

    made: tuple[tuple[str, str], ...]
    doubt: str | None = None  # why a clock was not believed that says that more days are over


def seal(database: Database, now: int, told: Callable[[str, str], None] | None = None) -> Sealing:
    """Seal every day that is over, oldest first, each in a transaction of its own; `told` hears of each that is made.

    A day is closed before it is read: from then on nobody can write into it, so it is read and hashed while all
    others go on writing. Whoever is killed in between leaves a closed day that the next one seals.
    """
    until, doubt = believed(database, now)
    end = _close(database, until)
    made: list[tuple[str, str]] = []
    while (one := _seal_next(database, end)) is not None:
        made.append(one)
        if told is not None:
            told(*one)
    return Sealing(tuple(made), doubt)


def believed(database: Database, now: int) -> tuple[int, str | None]:
    """Return up to when days may be over, and what speaks against `now`: a day sealed too early stays so for good.

    A clock that runs ahead is found by the database's, if that is another machine's. Where it is not, by history
    itself: it has something of nearly every day, so a long silence is believed only after something was written.
    """
    with database.read() as connection:
        there = of_database(connection)
        newest = max((at for at in map(connection.scalar, _NEWEST) if at is not None), default=now)
    if now > there + AHEAD:
        said = f"this clock says {iso(now)} and the database's {iso(there)}"
        return 0, f"{said}: no day is sealed until they agree; let both follow a time server"
    if now > newest + SILENCE:
        said = f"nothing was written since {iso(newest)}, and this clock says {iso(now)}"
        return newest, f"{said}: if it is right, the days since then are sealed after the next event"
    return now, None


def _close(database: Database, until: int) -> int:
    """Let nothing more be dated into the days that are over at `until`; return when the last of them ended."""
    with database.write() as connection:
        count = tally.take_all(connection)  # whoever was writing has ended by now
        begin, _ = _next(connection, until)
        end = begin + max(0, (until - SETTLE - begin) // DAY) * DAY
        if end > begin and end > count.floor:
            tally.raise_floor(connection, end)
    return end


def _seal_next(database: Database, end: int) -> tuple[str, str] | None:
    """Seal the first closed day that is not sealed, if there is one before `end`; return it with its seal."""
    with database.read() as connection:
        begin, prev = _next(connection, end)
        if begin >= end:
            return None
        day = day_of(begin)
        rows, digest = content(connection, day)
    head = bind(prev, day, rows, digest)
    with database.write() as connection:
        count = tally.take_all(connection)
        if _next(connection, end) != (begin, prev) or count.floor < begin + DAY:
            return None  # another process seals them, or the database forgot the floor and they have to be closed anew
        values = {"day": day, "rows": rows, "digest": digest, "prev": prev, "hash": head}
        connection.execute(sa.insert(t.day_heads).values(**values))
        count.add([head])
        tally.keep(connection, count)
    return day, head


def _next(connection: sa.Connection, otherwise: int) -> tuple[int, str]:
    """Return when the first day begins that is not sealed, `otherwise` without history, and what it is bound to."""
    last = connection.execute(sa.select(t.day_heads).order_by(t.day_heads.c.day.desc()).limit(1)).first()
    if last:
        return begin_of(last.day) + DAY, last.hash
    first = connection.execute(sa.select(sa.func.min(t.events.c.received_at))).scalar()
    return (begin_of(day_of(first)) if first is not None else otherwise), GENESIS


def bind(prev: str, day: str, rows: int, digest: str) -> str:
    """Return the seal of a day: over what it holds and over all days before it."""
    return sha256(dumps([prev, day, rows, digest]))


def heads(database: Database, since: str = "") -> dict[str, str]:
    """Return the seal of each sealed day from `since` on (such as 2026-01-31), oldest first, whoever sealed it."""
    table = t.day_heads.c
    query = sa.select(table.day, table.hash).where(table.day >= since).order_by(table.day)
    with database.read() as connection:
        return {row.day: row.hash for row in connection.execute(query)}


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
