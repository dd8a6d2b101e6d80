"""What is on hold: systems that take no case further, and actions that nobody carries out."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from openclaw_dagster.store import desk
from openclaw_dagster.store.rows import upsert


@dataclass(frozen=True, slots=True)
class Hold:
    """One hold: on a system (`dispatch`) or an action (`erp.refund`), since when (ms), by whom and why."""

    scope: str
    by: str
    reason: str
    at: int


def read(connection: sa.Connection) -> list[Hold]:
    """Return every hold, oldest first."""
    query = sa.select(desk.holds).order_by(desk.holds.c.at, desk.holds.c.scope)
    return [Hold(**row._mapping) for row in connection.execute(query)]


def place(connection: sa.Connection, hold: Hold) -> bool:
    """Put something on hold; return False when it is already."""
    row = {"scope": hold.scope, "by": hold.by, "reason": hold.reason, "at": hold.at}
    insert = upsert(connection, desk.holds).values(**row).on_conflict_do_nothing()
    return bool(connection.execute(insert).rowcount)


def lift(connection: sa.Connection, scope: str) -> bool:
    """End a hold; return False when there is none."""
    return bool(connection.execute(sa.delete(desk.holds).where(desk.holds.c.scope == scope)).rowcount)


def over(connection: sa.Connection, scopes: set[str]) -> set[str]:
    """Return which of these are on hold no more; those that are stay so until the transaction has ended."""
    if not scopes:
        return set()
    query = sa.select(desk.holds.c.scope).where(desk.holds.c.scope.in_(scopes)).with_for_update(read=True)
    return scopes - {*connection.execute(query).scalars()}


def on(connection: sa.Connection, scope: str) -> bool:
    """Tell whether something is on hold."""
    return (
        connection.execute(sa.select(desk.holds.c.at).where(desk.holds.c.scope == scope)).first() is not None
    )
