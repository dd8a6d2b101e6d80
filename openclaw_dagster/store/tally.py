"""How much history there is, counted as it is written, so that what vanishes whole is missed.

A chain per case shows what was changed inside it, and nothing when all of it is gone. So each transaction
adds the hashes of what it writes to a total. The total is kept in several rows, of which a writer holds one
until its commit: writers do not wait for each other, and whoever holds all rows knows that nobody is writing.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from openclaw_dagster.store import tables as t

SHARDS = 32
_MODULUS = 1 << 256


@dataclass(slots=True)
class Tally:
    """One of the rows of the total."""

    shard: int
    rows: int = 0
    total: int = 0
    floor: int = 0  # ms: days before it are sealed, nothing may be dated into them

    def add(self, hashes: Iterable[str]) -> None:
        """Count rows by their hashes."""
        for value in hashes:
            self.rows += 1
            self.total = (self.total + int(value, 16)) % _MODULUS


def take(connection: sa.Connection) -> Tally:
    """Hold one row of the total until the transaction ends."""
    free = sa.select(t.tallies).limit(1)
    row = connection.execute(free.with_for_update(skip_locked=True)).first()
    if row is None:  # more writers than rows: wait in line for one of them
        any_row = sa.select(t.tallies).where(t.tallies.c.shard == secrets.randbelow(SHARDS))
        row = connection.execute(any_row.with_for_update()).one()
    return Tally(row.shard, row.rows, int(row.total, 16), row.floor)


def keep(connection: sa.Connection, tally: Tally) -> None:
    """Write a row of the total that was taken."""
    update = sa.update(t.tallies).where(t.tallies.c.shard == tally.shard)
    connection.execute(update.values(rows=tally.rows, total=f"{tally.total:064x}"))


def take_all(connection: sa.Connection) -> Tally:
    """Hold all rows: what was written before is committed by now. Return the first of them."""
    rows = connection.execute(sa.select(t.tallies).order_by(t.tallies.c.shard).with_for_update()).all()
    return Tally(rows[0].shard, rows[0].rows, int(rows[0].total, 16), rows[0].floor)


def raise_floor(connection: sa.Connection, floor: int) -> None:
    """Let nothing be dated before `floor` from now on; for the holder of all rows."""
    connection.execute(sa.update(t.tallies).values(floor=floor))


def read(connection: sa.Connection) -> Tally:
    """Return the whole total."""
    whole = Tally(-1)
    for row in connection.execute(sa.select(t.tallies)):
        whole.rows += row.rows
        whole.total = (whole.total + int(row.total, 16)) % _MODULUS
    return whole


def begin(connection: sa.Connection) -> None:
    """Create the rows of the total in a ledger that has no history yet."""
    rows = [{"shard": shard, "rows": 0, "total": f"{0:064x}", "floor": 0} for shard in range(SHARDS)]
    connection.execute(sa.insert(t.tallies), rows)
