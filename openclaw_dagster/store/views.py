"""What can be read of the ledger: cases, journals, events, effects, dead letters, what is due."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa

from openclaw_dagster.clock import Clock, SystemClock
from openclaw_dagster.store import checkpoints, claims, desk, events, journal, rows, tally
from openclaw_dagster.store import tables as t
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.clocks import Clocks
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.events import Event
from openclaw_dagster.store.holds import Hold
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
        self.clocks = Clocks(database, self.clock)

    def spec(self, digest: str) -> dict[str, Any] | None:
        """Return the kept version of a system."""
        with self.database.read() as connection:
            text = connection.execute(sa.select(t.specs.c.bundle).where(t.specs.c.digest == digest)).scalar()
        return json.loads(text) if text else None

    def due(self, systems: Collection[str]) -> Agenda:
        """Return what is due of some systems."""
        with self.database.read() as connection:
            held = {hold.scope for hold in read_holds(connection)}
            free = [name for name in sorted(systems) if name not in held]
            if not free:
                return Agenda((), None)
            names = {f"name{number}": name for number, name in enumerate(free)}
            found = connection.execute(_line(tuple(names)), {**names, "now": self.clock.now()}).all()
        lines = [(row[0], row[1 : 1 + len(t.RANKS)], row[1 + len(t.RANKS) :]) for row in found]
        due = [Due(name, min(sum(counts), MANY), counts[0] > 0) for name, counts, _ in lines if any(counts)]
        later = [at for _, _, firsts in lines for at in firsts if at is not None]
        return Agenda(tuple(sorted(due, key=lambda one: not one.critical)), min(later, default=None))

    def case(self, case_id: str) -> Case | None:
        """Return one case."""
        with self.database.read() as connection:
            row = connection.execute(sa.select(t.cases).where(t.cases.c.id == case_id)).first()
        return rows.to_case(row) if row else None

    def cases(self, ids: Collection[str]) -> dict[str, Case]:
        """Return cases by id, those that there are."""
        with self.database.read() as connection:
            found = connection.execute(sa.select(t.cases).where(t.cases.c.id.in_(list(ids))))
            return {case.id: case for case in map(rows.to_case, found)}

    def held(self, cases: Sequence[Case]) -> list[Case]:
        """Return those of `cases` as they stand that are still held under the fence they were held under."""
        fences = {case.id: case.fence for case in cases}
        with self.database.read() as connection:
            query = sa.select(t.cases).where(t.cases.c.id.in_(list(fences)), t.cases.c.state == "running")
            found = [rows.to_case(row) for row in connection.execute(query)]
        return [case for case in found if case.fence == fences[case.id]]

    def lease(self, claim: str, run_id: str) -> int | None:
        """Return when (ms) the last lease ends by which a run holds cases of a claim, or may take hold; None without any."""
        with self.database.read() as connection:
            return claims.lease(connection, claim, run_id)

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
        if key is not None:
            query = query.where(t.cases.c.key == key)
        for column, value in ((t.cases.c.system, system), (t.cases.c.state, state)):
            if value is not None:
                # a key has few cases: beside it no index is to be asked for the many of a system or a state
                query = query.where((column if key is None else column.concat("")) == value)
        if before is not None:
            query = query.where(t.cases.c.id < before)
        with self.database.read() as connection:
            return [rows.to_case(row) for row in connection.execute(query)]

    def in_doubt(self, limit: int = 50) -> list[Case]:
        """Return the oldest cases that wait for people and not at a checkpoint: for word of a call, or of a case inside."""
        asked = sa.select(desk.checkpoints.c.case_id).where(desk.checkpoints.c.settled_at.is_(None))
        query = sa.select(t.cases).where(t.cases.c.state == "awaiting_human", t.cases.c.id.not_in(asked))
        with self.database.read() as connection:
            return [
                rows.to_case(row) for row in connection.execute(query.order_by(t.cases.c.id).limit(limit))
            ]

    def last_tick(self, system: str, trigger: str) -> str | None:
        """Return the newest moment of the clock, such as 2026-01-31T07:30:00Z, at which a schedule's event came."""
        keys = t.event_keys.c
        mine = (keys.system == system, keys.trigger == trigger, keys.key.like("____-__-__T__:__:__Z"))
        with self.database.read() as connection:
            found: str | None = connection.execute(sa.select(sa.func.max(keys.key)).where(*mine)).scalar()
        return found

    def begun_by(self, case: Case) -> dict[str, list[Case]]:
        """Return the cases that steps of a case began, by step, in order; those of an earlier redrive are not among them."""
        keys = {
            one.key: (name, index)
            for name, fact in case.facts.steps.items()
            for index, one in enumerate(fact.branches)
        }
        found: dict[str, list[Case]] = {}
        if keys:
            query = sa.select(t.cases).where(t.cases.c.key.in_(list(keys)))
            with self.database.read() as connection:
                known = [rows.to_case(row) for row in connection.execute(query)]
            for one in sorted((one for one in known if one.facts.origin), key=lambda one: keys[one.key]):
                found.setdefault(keys[one.key][0], []).append(one)
        return found

    def counts(self) -> dict[tuple[str, str], int]:
        """Return how many cases each system has in each state."""
        with self.database.read() as connection:
            return tally.cases(connection)

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
        self,
        *,
        system: str | None = None,
        case_id: str | None = None,
        redriven: bool = False,
        limit: int = 100,
        after: tuple[int, str] | None = None,
    ) -> list[dict[str, Any]]:
        """Return dead letters that wait for somebody, with the keys of their cases, oldest first.

        With `redriven`, those that did; `after` is when the last one seen was written, and its case.
        """
        letters, place = t.dead_letters, (t.dead_letters.c.at, t.dead_letters.c.case_id)
        key = sa.select(t.cases.c.key).where(t.cases.c.id == letters.c.case_id).scalar_subquery()
        query = sa.select(letters, key.label("key")).order_by(*place).limit(limit)
        query = query.where(
            letters.c.redriven_at.isnot(None) if redriven else letters.c.redriven_at.is_(None)
        )
        for column, value in ((letters.c.system, system), (letters.c.case_id, case_id)):
            if value is not None:
                query = query.where(column == value)
        if after is not None:
            query = query.where(sa.tuple_(*place) > after)
        with self.database.read() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]


@cache
def _line(names: tuple[str, ...]) -> sa.TextClause:
    """Return the question how many cases of each rank a system has due, up to MANY, and when each rank's next is due.

    Each is a stretch of one index, read from its begin: what waits for later, or has ended, is not passed over.
    """
    ours = "FROM claw_cases WHERE system = asked.name AND rank ="
    counts = [
        f"(SELECT count(*) FROM (SELECT 1 {ours} {rank} AND due_at <= :now LIMIT {MANY}) AS first)"
        for rank in t.RANKS
    ]
    firsts = [f"(SELECT min(due_at) {ours} {rank} AND due_at > :now)" for rank in t.RANKS]
    values = ", ".join(f"(:{name})" for name in names)
    return sa.text(
        f"WITH asked (name) AS (VALUES {values}) SELECT name, {', '.join(counts + firsts)} FROM asked ORDER BY name"
    )
