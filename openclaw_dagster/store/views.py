"""What can be read of the ledger: cases, journals, events, effects, dead letters, what is due."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from openclaw_dagster.clock import Clock, SystemClock
from openclaw_dagster.store import checkpoints, events, journal, rows
from openclaw_dagster.store import tables as t
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.events import Event
from openclaw_dagster.store.holds import Hold, free
from openclaw_dagster.store.holds import read as read_holds
from openclaw_dagster.store.journal import Record

#: More due cases than this need not be told apart to choose a batch's size.
MANY = 1_000


@dataclass(frozen=True, slots=True)
class Due:
    """How many cases of a system are due, at most MANY, and whether a critical one is among them."""

    system: str
    count: int
    critical: bool


@dataclass(frozen=True, slots=True)
class Agenda:
    """What is due now, critical systems first, and when (ms) the next case becomes due that is not yet."""

    systems: tuple[Due, ...]
    next_at: int | None


class Views:
    """Reads the ledger; nothing here writes."""

    def __init__(self, database: Database, clock: Clock | None = None) -> None:
        self.database = database
        self.clock = clock or SystemClock()

    def spec(self, digest: str) -> dict[str, Any] | None:
        """Return the kept version of a system."""
        with self.database.read() as connection:
            text = connection.execute(sa.select(t.specs.c.bundle).where(t.specs.c.digest == digest)).scalar()
        return json.loads(text) if text else None

    def due(self, systems: Collection[str]) -> Agenda:
        """Return what is due of some systems."""
        cases = t.cases.c
        now = self.clock.now()
        mine = cases.system.in_(sorted(systems)) & free(cases.system)
        found: list[Due] = []
        with self.database.read() as connection:
            names = connection.execute(
                sa.select(cases.system).where(mine, cases.due_at <= now).distinct()
            ).scalars()
            for name in names.all():
                first = sa.select(cases.rank).where(cases.system == name, cases.due_at <= now)
                ranks = connection.execute(first.order_by(cases.rank).limit(MANY)).scalars().all()
                found.append(Due(name, len(ranks), bool(ranks) and ranks[0] == 0))
            later = sa.select(sa.func.min(cases.due_at)).where(mine, cases.due_at > now)
            next_at = connection.execute(later).scalar()
        return Agenda(tuple(sorted(found, key=lambda one: not one.critical)), next_at)

    def case(self, case_id: str) -> Case | None:
        """Return one case."""
        with self.database.read() as connection:
            row = connection.execute(sa.select(t.cases).where(t.cases.c.id == case_id)).first()
        return rows.to_case(row) if row else None

    def held(self, cases: Sequence[Case]) -> list[Case]:
        """Return those of `cases` as they stand that are still held under the fence they were held under."""
        fences = {case.id: case.fence for case in cases}
        with self.database.read() as connection:
            query = sa.select(t.cases).where(t.cases.c.id.in_(list(fences)), t.cases.c.state == "running")
            found = [rows.to_case(row) for row in connection.execute(query)]
        return [case for case in found if case.fence == fences[case.id]]

    def find(
        self,
        *,
        system: str | None = None,
        state: str | None = None,
        key: str | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> list[Case]:
        """Return the newest cases that match, at most `limit`; ids begin with the time, so they sort by it."""
        query = sa.select(t.cases).order_by(t.cases.c.id.desc()).limit(limit)
        for column, value in ((t.cases.c.system, system), (t.cases.c.state, state), (t.cases.c.key, key)):
            if value is not None:
                query = query.where(column == value)
        if before is not None:
            query = query.where(t.cases.c.id < before)
        with self.database.read() as connection:
            return [rows.to_case(row) for row in connection.execute(query)]

    def counts(self) -> dict[tuple[str, str], int]:
        """Return how many cases each system has in each state."""
        query = sa.select(t.cases.c.system, t.cases.c.state, sa.func.count()).group_by(
            t.cases.c.system, t.cases.c.state
        )
        with self.database.read() as connection:
            return {(system, state): count for system, state, count in connection.execute(query)}

    def holds(self) -> list[Hold]:
        """Return what is on hold, oldest first."""
        with self.database.read() as connection:
            return read_holds(connection)

    def checkpoints(
        self, *, case_id: str | None = None, waiting: bool = False, limit: int = 500
    ) -> list[checkpoints.Request]:
        """Return requests of checkpoints: of one case, those that wait (oldest first), or the newest."""
        with self.database.read() as connection:
            return checkpoints.read(connection, case_id=case_id, waiting=waiting, limit=limit)

    def journal(self, case_id: str) -> list[Record]:
        """Return the journal of one case in order."""
        with self.database.read() as connection:
            return journal.read(connection, case_id)

    def events(self, ids: Sequence[str]) -> dict[str, Event]:
        """Return events by id."""
        with self.database.read() as connection:
            return events.read(connection, ids)

    def effects(self, case_id: str) -> list[dict[str, Any]]:
        """Return the effects of one case in the order they were claimed."""
        query = (
            sa.select(t.effects)
            .where(t.effects.c.case_id == case_id)
            .order_by(t.effects.c.claimed_at, t.effects.c.key)
        )
        with self.database.read() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]

    def dead_letters(
        self, *, system: str | None = None, redriven: bool = False, limit: int = 100
    ) -> list[dict[str, Any]]:
        """Return dead letters that wait for somebody, oldest first; with `redriven`, those that did."""
        letters = t.dead_letters
        query = sa.select(letters).order_by(letters.c.at, letters.c.case_id).limit(limit)
        query = query.where(
            letters.c.redriven_at.isnot(None) if redriven else letters.c.redriven_at.is_(None)
        )
        if system is not None:
            query = query.where(letters.c.system == system)
        with self.database.read() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]
