"""What happened in a stretch of time, counted where it is written: for meters, which want sums and no rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from openclaw_dagster.store import tables as t
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.entries import Kind


@dataclass(frozen=True, slots=True)
class Starts:
    """First starts of the cases of a system: how many, after how many ms in sum, how many within each bound."""

    count: int
    total: int
    within: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Happened:
    """What happened in a stretch of time."""

    events: Mapping[tuple[str, str, str], int]  # by system, name and source
    starts: Mapping[tuple[str, bool], Starts]  # by system and whether the cases are critical


def happened(database: Database, after: int, until: int, bounds: Sequence[int]) -> Happened:
    """Return what was written after one moment and until another (ms); `bounds` in ms, ascending."""
    events, journal, cases = t.events.c, t.journal.c, t.cases.c
    arrived = sa.select(events.system, events.name, events.source, sa.func.count())
    arrived = arrived.where(events.received_at > after, events.received_at <= until)
    arrived = arrived.group_by(events.system, events.name, events.source)
    waited = journal.at - cases.created_at
    started = sa.select(
        cases.system, cases.rank, sa.func.count(), sa.func.sum(waited),
        *(sa.func.sum(sa.case((waited <= bound, 1), else_=0)) for bound in bounds),
    )  # fmt: skip
    started = started.join_from(t.journal, t.cases, cases.id == journal.case_id)
    started = started.where(journal.at > after, journal.at <= until, journal.kind == Kind.STARTED.value)
    started = started.where(cases.started_at == journal.at).group_by(cases.system, cases.rank)
    with database.read() as connection:
        return Happened(
            {(system, name, source): count for system, name, source, count in connection.execute(arrived)},
            {
                (row[0], row[1] == 0): Starts(int(row[2]), int(row[3]), tuple(int(one) for one in row[4:]))
                for row in connection.execute(started)
            },
        )


def due(database: Database, now: int) -> int:
    """Return how many cases wait for a run, those included whose lease ran out."""
    query = sa.select(sa.func.count()).select_from(t.cases).where(t.cases.c.due_at <= now)
    with database.read() as connection:
        return connection.execute(query).scalar() or 0
