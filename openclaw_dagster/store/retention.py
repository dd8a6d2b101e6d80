"""Takes away payloads and texts whose retention is over; their digests stay, and the chains still verify.

What a case still needs that has not ended is kept until it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import get_args

import sqlalchemy as sa

from openclaw_dagster.store import guards, rows
from openclaw_dagster.store import tables as t
from openclaw_dagster.store.case import ENDED, Case, State, StepFact
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.events import Event
from openclaw_dagster.store.gates import GateFact
from openclaw_dagster.store.journal import Record

#: Events, or cases, that are shredded in one transaction: writers get their turn in between.
BATCH = 200
#: States of cases that have not ended.
UNDER_WAY = tuple(state for state in get_args(State) if state not in ENDED)
#: What is said in the place of a reason that was taken away.
GONE = "what was said here is past its retention"


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
                if table is t.journal:
                    _strip(connection, owners)
    return gone


def forgotten(event: Event | None, journal: Iterable[Record]) -> bool:
    """Tell whether anything of what a case was begun with, or has done, was taken away: it cannot go on after that."""
    return event is None or event.payload is None or any(line.body is None for line in journal)


def _strip(connection: sa.Connection, ids: Sequence[str]) -> None:
    """Take away what cases repeat of their journals, where nothing of those is left to read."""
    left = sa.select(t.journal.c.case_id).where(t.journal.c.case_id.in_(ids), t.journal.c.body.isnot(None))
    told = set(connection.execute(left).scalars())
    locked = rows.lock(connection, [one for one in ids if one not in told])
    over = [case for case in locked.values() if case.ended]
    rows.save(connection, [bare(case) for case in over], new=False)
    letters = t.dead_letters.c.case_id.in_([case.id for case in over])
    connection.execute(sa.update(t.dead_letters).where(letters).values(reason=GONE))


def bare(case: Case) -> Case:
    """Return a case without what payloads, people and the outside said; states, digests, keys and times stay."""
    facts = case.facts
    left = replace(
        facts,
        decisions={
            name: replace(made, output={}, reason="", inputs={}) for name, made in facts.decisions.items()
        },
        steps={name: _bare_step(fact) for name, fact in facts.steps.items()},
        gates={name: _bare_gate(gate) for name, gate in facts.gates.items()},
        skips={name: replace(skip, reason="") for name, skip in facts.skips.items()},
        why="",
        requester="",
    )
    return replace(case, reason=case.reason and GONE, facts=left)


def _bare_step(fact: StepFact) -> StepFact:
    branches = tuple(replace(one, reason="", result=None) for one in fact.branches)
    return replace(fact, args={}, result=None, error="", branches=branches)


def _bare_gate(gate: GateFact) -> GateFact:
    """Return a checkpoint of which only who answered what, when and by which way is still known."""
    said = tuple({**one, "reason": "", "form": {}} for one in gate.answers)
    return replace(gate, answers=said, shown={}, changed={})
