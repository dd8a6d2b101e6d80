"""Cases to rows and back, and the projections that are written beside them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from openclaw_dagster.store import checkpoints, notices
from openclaw_dagster.store import tables as t
from openclaw_dagster.store.canonical import dumps, plain, sha256
from openclaw_dagster.store.case import Case, Facts
from openclaw_dagster.store.entries import Entry, Kind

_COLUMNS = [column.name for column in t.cases.columns]

#: What an entry makes of the effect of its step.
EFFECT_STATES: dict[Kind, str] = {
    Kind.BEGUN: "claimed",
    Kind.COMPLETED: "done",
    Kind.RETRY: "failed",
    Kind.FAILED: "failed",
    Kind.UNKNOWN: "unknown",
    Kind.PARKED: "unknown",
    Kind.UNDONE: "undone",
    Kind.ANSWERED: "done",
}


def upsert(connection: sa.Connection, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
    """Return an insert that can say what happens on a conflict, which each database has its own of."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def spec_hash(row: Mapping[str, Any]) -> str:
    """Return the hash over everything of a kept version of a system."""
    return sha256(dumps(dict(row)))


def to_row(case: Case) -> dict[str, Any]:
    """Return the columns of a case."""
    return {name: getattr(case, name) for name in _COLUMNS if name != "facts"} | {
        "facts": dumps(case.facts.as_json())
    }


def to_case(row: Any) -> Case:
    """Return the case of a row."""
    values = dict(row._mapping)
    values["facts"] = Facts.from_json(json.loads(values["facts"]))
    return Case(**values)


def lock(connection: sa.Connection, ids: Iterable[str]) -> dict[str, Case]:
    """Return cases by id, held against other writers until the end; in one order, so that none block."""
    query = (
        sa.select(t.cases).where(t.cases.c.id.in_(sorted(set(ids)))).order_by(t.cases.c.id).with_for_update()
    )
    return {row.id: to_case(row) for row in connection.execute(query)}


def save(connection: sa.Connection, cases: Sequence[Case], *, new: bool) -> None:
    """Write the rows of cases."""
    if not cases:
        return
    if new:
        connection.execute(sa.insert(t.cases), [to_row(case) for case in cases])
        return
    statement = (
        sa.update(t.cases)
        .where(t.cases.c.id == sa.bindparam("b_id"))
        .values({name: sa.bindparam(f"b_{name}") for name in _COLUMNS if name != "id"})
    )
    connection.execute(statement, [{f"b_{k}": v for k, v in to_row(case).items()} for case in cases])


def project(connection: sa.Connection, written: Sequence[tuple[Case, Entry, int, int]], clock: int) -> None:
    """Bring the projections up to date with entries, given as (case after, entry, seq, at).

    What people wait for, and when they are told, goes by the clock and not by the date of the row.
    """
    _project_effects(connection, written)
    _project_dead_letters(connection, written)
    waited = [(case, entry, seq, clock) for case, entry, seq, _ in written]
    checkpoints.project(connection, waited)
    notices.project(connection, waited)


def _project_effects(connection: sa.Connection, written: Sequence[tuple[Case, Entry, int, int]]) -> None:
    begun: dict[str, dict[str, Any]] = {}
    finished: dict[str, dict[str, Any]] = {}
    for case, entry, _seq, at in written:
        state = EFFECT_STATES.get(entry.kind)
        step = case.facts.steps.get(entry.body["step"]) if state else None
        if state is None or step is None or not step.key:
            continue
        if entry.kind is Kind.BEGUN:
            finished.pop(step.key, None)  # what it came to before is over
            begun[step.key] = {
                "key": step.key,
                "case_id": case.id,
                "step": entry.body["step"],
                "action": entry.body["action"],
                "state": state,
                "attempt": entry.body["attempt"],
                "fence": case.fence,
                "claimed_at": at,
                "finished_at": None,
            }
        else:
            if entry.kind is Kind.ANSWERED and not entry.body["took_place"]:
                state = "failed"
            finished[step.key] = {"b_key": step.key, "b_state": state, "b_at": at}
    if begun:
        insert = upsert(connection, t.effects)
        changed = {
            name: insert.excluded[name] for name in ("state", "attempt", "fence", "claimed_at", "finished_at")
        }
        connection.execute(
            insert.on_conflict_do_update(index_elements=["key"], set_=changed), list(begun.values())
        )
    if finished:
        update = sa.update(t.effects).where(t.effects.c.key == sa.bindparam("b_key"))
        connection.execute(
            update.values(state=sa.bindparam("b_state"), finished_at=sa.bindparam("b_at")),
            list(finished.values()),
        )


def _project_dead_letters(connection: sa.Connection, written: Sequence[tuple[Case, Entry, int, int]]) -> None:
    for case, entry, seq, at in written:
        if entry.kind is Kind.DEAD_LETTERED:
            values: Mapping[str, Any] = {
                "case_id": case.id,
                "seq": seq,
                "system": case.system,
                "queue": entry.body["queue"],
                "stage": entry.body["stage"],
                "reason": plain(entry.body["reason"]),
                "attempts": entry.body["attempts"],
                "digest": case.digest,
                "at": at,
            }
            connection.execute(sa.insert(t.dead_letters).values(**values))
        elif entry.kind in (Kind.REDRIVEN, Kind.CANCELLED):
            connection.execute(
                sa.update(t.dead_letters)
                .where(t.dead_letters.c.case_id == case.id, t.dead_letters.c.redriven_at.is_(None))
                .values(redriven_at=at, redriven_by=plain(entry.body["by"]))
            )
