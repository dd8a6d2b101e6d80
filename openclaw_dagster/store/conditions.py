"""What conditions were read as, so that each starts one case each time it becomes true, across restarts."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from openclaw_dagster.store import desk
from openclaw_dagster.store.rows import upsert


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look at a condition found."""

    system: str
    trigger: str
    true: bool


def note(connection: sa.Connection, seen: Seen, now: int, *, hold: int, gap: int) -> int | None:
    """Keep what was seen; return since when it is true when a case starts now, else None. Times in ms."""
    mine = (desk.conditions.c.system == seen.system, desk.conditions.c.trigger == seen.trigger)
    begin = {"system": seen.system, "trigger": seen.trigger, "since": None, "fired": False, "read_at": now}
    connection.execute(upsert(connection, desk.conditions).values(**begin).on_conflict_do_nothing())
    row = connection.execute(sa.select(desk.conditions).where(*mine).with_for_update()).one()
    since, fired = row.since, bool(row.fired)
    if not seen.true:
        since, fired = None, False
    elif since is None or (not fired and now - row.read_at > gap):
        since = now  # nobody looked for a while: whether it was true all along is not known
    starts = since is not None and not fired and now - since >= hold
    values = {"since": since, "fired": fired or starts, "read_at": now}
    connection.execute(sa.update(desk.conditions).where(*mine).values(**values))
    return since if starts else None
