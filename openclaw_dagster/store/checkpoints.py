"""The open work of people: a row for each request of a checkpoint, kept beside the journal it comes from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from openclaw_dagster.store import desk
from openclaw_dagster.store.canonical import dumps
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.entries import Entry, Kind

_TOLD = frozenset(
    {Kind.REMINDED, Kind.ESCALATED, Kind.CLEARANCE, Kind.VOIDED, Kind.EXPIRED}
)  # entries about the request that stands
#: Entries that may end requests of a case without anybody's answer.
_OVER = frozenset(
    {Kind.CANCELLED, Kind.REDRIVEN, Kind.SKIPPED, Kind.CLOSED, Kind.HANDED_OFF, Kind.DEAD_LETTERED}
)


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a checkpoint, as lists show it. Times are ms since 1970."""

    case_id: str
    step: str
    request: int
    system: str
    key: str
    kind: str
    state: str
    roles: tuple[str, ...]
    digest: str
    asked_at: int
    deadline_at: int | None
    escalated: bool
    answers: int
    quorum: int
    settled_at: int | None


def project(connection: sa.Connection, written: Sequence[tuple[Case, Entry, int, int]]) -> None:
    """Bring the rows up to date with entries, given as (case after, entry, seq, at)."""
    for case, entry, _seq, at in written:
        if entry.kind is Kind.ASKED:
            _ask(connection, case, entry, at)
        elif entry.kind in _TOLD:
            _settle(connection, case, entry.body["step"], at)
        elif entry.kind in _OVER:
            for step in case.facts.gates:
                _settle(connection, case, step, at)


def _ask(connection: sa.Connection, case: Case, entry: Entry, at: int) -> None:
    body = entry.body
    table = desk.checkpoints
    before = (table.c.case_id == case.id, table.c.step == body["step"], table.c.settled_at.is_(None))
    connection.execute(sa.update(table).where(*before).values(state="voided", settled_at=at))
    row = {
        "case_id": case.id, "step": body["step"], "request": body["request"], "system": case.system,
        "key": case.key, "kind": body["kind"], "state": "asked", "roles": dumps(list(body["roles"])),
        "digest": body["digest"], "asked_at": at, "deadline_at": body["deadline_at"], "escalated": False,
        "answers": 0, "quorum": body["quorum"], "settled_at": None,
    }  # fmt: skip
    connection.execute(sa.insert(table).values(**row))


def _settle(connection: sa.Connection, case: Case, step: str, at: int) -> None:
    gate = case.facts.gates[step]
    table = desk.checkpoints
    mine = (table.c.case_id == case.id, table.c.step == step, table.c.request == gate.request)
    values = {
        "state": gate.state, "roles": dumps(list(gate.roles)), "escalated": gate.escalated,
        "deadline_at": gate.deadline_at, "answers": gate.quorum - gate.missing,
        "settled_at": None if gate.open else at,
    }  # fmt: skip
    connection.execute(sa.update(table).where(*mine, table.c.settled_at.is_(None)).values(**values))


def read(
    connection: sa.Connection, *, case_id: str | None = None, waiting: bool = False, limit: int = 500
) -> list[Request]:
    """Return requests: those of one case, or those that wait (oldest first), or the newest of all."""
    table = desk.checkpoints
    query = sa.select(table).limit(limit)
    if case_id is not None:
        query = query.where(table.c.case_id == case_id)
    if waiting:
        query = query.where(table.c.settled_at.is_(None)).order_by(table.c.asked_at, table.c.case_id)
    else:
        query = query.order_by(table.c.asked_at.desc(), table.c.case_id, table.c.step, table.c.request)
    return [_request(row) for row in connection.execute(query)]


def _request(row: Any) -> Request:
    values = dict(row._mapping)
    return Request(
        **{**values, "roles": tuple(json.loads(values["roles"])), "escalated": bool(values["escalated"])}
    )
