"""Takes away payloads and texts whose retention is over; their digests stay, and the chains still verify.

What a case still needs that has not ended is kept until it has.
"""

from __future__ import annotations

from typing import get_args

import sqlalchemy as sa

from openclaw_dagster.store import guards
from openclaw_dagster.store import tables as t
from openclaw_dagster.store.case import ENDED, State
from openclaw_dagster.store.database import Database

#: Events, or cases, that are shredded in one transaction: writers get their turn in between.
BATCH = 500
#: States of cases that have not ended.
UNDER_WAY = tuple(state for state in get_args(State) if state not in ENDED)


def shred(database: Database, now: int) -> int:
    """Take away what is past its time at `now` and by the database's own clock; return how many."""
    gone, cases = 0, t.cases.c
    for table, column, owner, needed in (
        (t.events, t.events.c.payload, t.events.c.id, cases.event_id),
        (t.journal, t.journal.c.body, t.journal.c.case_id, cases.id),
    ):
        # the guard goes by the database's clock: what it would refuse is not asked for
        over = sa.and_(
            column.isnot(None),
            table.c.keep_until <= now,
            table.c.keep_until <= sa.text(guards.NOW[database.dialect]),
            owner.not_in(sa.select(needed).where(cases.state.in_(UNDER_WAY))),
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
