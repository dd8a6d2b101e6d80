"""Takes away payloads and texts whose retention is over; their digests stay, and the chains still verify."""

from __future__ import annotations

import sqlalchemy as sa

from openclaw_dagster.store import guards
from openclaw_dagster.store import tables as t
from openclaw_dagster.store.database import Database

#: Events, or cases, that are shredded in one transaction: writers get their turn in between.
BATCH = 500


def shred(database: Database, now: int) -> int:
    """Take away what is past its time at `now` and by the database's own clock; return how many."""
    gone = 0
    for table, column, owner in (
        (t.events, t.events.c.payload, t.events.c.id),
        (t.journal, t.journal.c.body, t.journal.c.case_id),
    ):
        # the guard goes by the database's clock: what it would refuse is not asked for
        over = sa.and_(
            column.isnot(None),
            table.c.keep_until <= now,
            table.c.keep_until <= sa.text(guards.NOW[database.dialect]),
        )
        some = sa.select(owner).where(over).distinct().limit(BATCH)
        while True:
            with database.write() as connection:
                owners = connection.execute(some).scalars().all()
                if not owners:
                    break
                update = sa.update(table).where(owner.in_(owners), over).values({column.name: None})
                gone += connection.execute(update).rowcount
    return gone
