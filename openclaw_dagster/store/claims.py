"""Which cases a claim takes, and which of them may share a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from openclaw_dagster.store import rows
from openclaw_dagster.store import tables as t
from openclaw_dagster.store.case import Case

#: Workers that must have died in a row with a case before it is kept from sharing a run.
SUSPECT = 2


def due(
    connection: sa.Connection, system: str, now: int, limit: int, only: Sequence[str] | None
) -> list[Case]:
    """Return due cases that no other writer holds, locked, the first in line first.

    Rank by rank, so that each time the begin of one stretch of the index is read and nothing else.
    """
    cases = t.cases
    found: list[sa.Row[Any]] = []
    for rank in t.RANKS:
        query = sa.select(cases).where(cases.c.system == system, cases.c.rank == rank, cases.c.due_at <= now)
        if only is not None:
            query = query.where(cases.c.id.in_(only))
        query = query.order_by(cases.c.due_at, cases.c.id).limit(limit - len(found))
        found += connection.execute(query.with_for_update(skip_locked=True)).all()
        if len(found) == limit:
            break
    return [rows.to_case(row) for row in found]


def unstarted(connection: sa.Connection, claim: str) -> list[Case]:
    """Return the cases of a claim that no run has started, locked."""
    query = (
        sa.select(t.cases).where(t.cases.c.claim == claim, t.cases.c.run_id.is_(None)).order_by(t.cases.c.id)
    )
    return [rows.to_case(row) for row in connection.execute(query.with_for_update())]


def lease(connection: sa.Connection, claim: str, run_id: str) -> int | None:
    """Return when (ms) the last lease ends by which a run holds cases of a claim, or may still take hold of them."""
    cases = t.cases.c
    mine = sa.or_(cases.run_id.is_(None), cases.run_id == run_id)
    query = sa.select(sa.func.max(cases.due_at)).where(cases.claim == claim, cases.state == "running", mine)
    return connection.execute(query).scalar()


def company(cases: list[Case]) -> list[Case]:
    """Return the cases that may share a run: one whose workers keep dying goes alone, for it may be the cause."""
    suspects = [case for case in cases if deaths_of(case) >= SUSPECT]
    return cases[:1] if cases[:1] == suspects[:1] else [case for case in cases if case not in suspects]


def deaths_of(case: Case) -> int:
    """Return how many workers died in a row with a case, the one that let its lease run out included."""
    return case.facts.deaths + (case.state == "running" and case.run_id is not None)
