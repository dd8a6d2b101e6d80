"""How much history there is, counted as it is written, so that what vanishes whole is missed.

A chain per case shows what was changed inside it, and nothing when all of it is gone. So each transaction
adds the hashes of what it writes to a total. The total is kept in several rows, of which a writer holds one
until its commit: writers do not wait for each other, and whoever holds all rows knows that nobody is writing.
Beside it stands how many cases each system has in each state, so that nobody has to count them.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from openclaw_dagster.store import tables as t
from openclaw_dagster.store.canonical import dumps

SHARDS = 32
_MODULUS = 1 << 256
#: Numbers of cases by system and state.
Counts = Counter[tuple[str, str]]


@dataclass(slots=True)
class Tally:
    """One of the rows of the total."""

    shard: int
    rows: int = 0
    total: int = 0
    floor: int = 0  # ms: days before it are sealed, nothing may be dated into them
    counted: int = 0  # rows that `cases` knows of; fewer where a version wrote that does not count cases
    cases: Counts = field(default_factory=Counter)  # what came minus what went, in this row

    def add(self, hashes: Iterable[str]) -> None:
        """Count rows by their hashes."""
        for value in hashes:
            self.rows += 1
            self.counted += 1
            self.total = (self.total + int(value, 16)) % _MODULUS

    def move(self, system: str, before: str | None, after: str) -> None:
        """Count a case of `system` that was in one state, None for a new one, and is in another."""
        if before is not None:
            self.cases[system, before] -= 1
        self.cases[system, after] += 1


def take(connection: sa.Connection) -> Tally:
    """Hold one row of the total until the transaction ends."""
    free = sa.select(t.tallies).limit(1)
    row = connection.execute(free.with_for_update(skip_locked=True)).first()
    if row is None:  # more writers than rows: wait in line for one of them
        any_row = sa.select(t.tallies).where(t.tallies.c.shard == secrets.randbelow(SHARDS))
        row = connection.execute(any_row.with_for_update()).one()
    return _of(row)


def _of(row: Any) -> Tally:
    return Tally(row.shard, row.rows, int(row.total, 16), row.floor, row.counted, _parse(row.counts))


def keep(connection: sa.Connection, tally: Tally) -> None:
    """Write a row of the total that was taken."""
    update = sa.update(t.tallies).where(t.tallies.c.shard == tally.shard)
    connection.execute(
        update.values(
            rows=tally.rows, total=f"{tally.total:064x}", counted=tally.counted, counts=_text(tally.cases)
        )
    )


def take_all(connection: sa.Connection) -> Tally:
    """Hold all rows: what was written before is committed by now. Return the first of them."""
    every = sa.select(t.tallies).order_by(t.tallies.c.shard).with_for_update()
    rows = connection.execute(every).all()
    if _behind(rows):
        connection.execute(sa.update(t.tallies).values(counted=t.tallies.c.rows, counts=_text(Counter())))
        first = sa.update(t.tallies).where(t.tallies.c.shard == rows[0].shard)
        connection.execute(first.values(counts=_text(count(connection))))
        rows = connection.execute(every).all()
    return _of(rows[0])


def raise_floor(connection: sa.Connection, floor: int) -> None:
    """Let nothing be dated before `floor` from now on; for the holder of all rows."""
    connection.execute(sa.update(t.tallies).values(floor=floor))


def read(connection: sa.Connection) -> Tally:
    """Return the whole total; ValueError or TypeError when it cannot be read."""
    whole = Tally(-1)
    for row in connection.execute(sa.select(t.tallies)):
        one = _of(row)
        whole.rows += one.rows
        whole.counted += one.counted
        whole.total = (whole.total + one.total) % _MODULUS
        whole.cases.update(one.cases)
    return whole


def cases(connection: sa.Connection) -> dict[tuple[str, str], int]:
    """Return how many cases each system has in each state."""
    rows = connection.execute(sa.select(t.tallies)).all()
    total: Counts = Counter()
    try:
        for row in rows:
            total.update(_parse(row.counts))
        good = not _behind(rows)
    except (ValueError, TypeError):
        good = False
    if not good:  # an older version wrote: the next seal sets it right. Or it was edited: an audit says so
        total = count(connection)
    return {place: number for place, number in total.items() if number}


def count(connection: sa.Connection) -> Counts:
    """Count all cases one by one, which takes the longer the more there are."""
    by = (t.cases.c.system, t.cases.c.state)
    query = sa.select(*by, sa.func.count()).group_by(*by)
    return Counter({(system, state): number for system, state, number in connection.execute(query)})


def _behind(rows: Iterable[Any]) -> bool:
    return any(row.counted != row.rows for row in rows)


def _text(cases: Mapping[tuple[str, str], int]) -> str:
    said: dict[str, dict[str, int]] = {}
    for (system, state), number in cases.items():
        if number:
            said.setdefault(system, {})[state] = number
    return dumps(said)


def _parse(text: str) -> Counts:
    said = json.loads(text)
    return Counter({(system, state): said[system][state] for system in said for state in said[system]})
