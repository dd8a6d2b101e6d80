"""The journal: append-only, each row bound to the one before it by its hash."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from openclaw_dagster.store import tables as t
from openclaw_dagster.store.canonical import dumps, sha256
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.entries import CLOCK, Entry, Kind, apply

#: The text every case's chain begins with.
GENESIS = "openclaw journal 1"


@dataclass(frozen=True, slots=True)
class Record:
    """One written line of a case's journal."""

    case_id: str
    seq: int
    at: int
    kind: Kind
    body: Mapping[str, Any] | None

    @property
    def moment(self) -> int:
        """What the writer's clock said (ms): its date, but where that had to be later."""
        return int((self.body or {}).get(CLOCK, self.at))


def link(prev: str, case_id: str, seq: int, at: int, kind: str, digest: str, keep_until: int) -> str:
    """Return the hash of a row: over everything in it, and over all rows before it."""
    return sha256(dumps([prev, case_id, seq, at, kind, digest, keep_until]))


def start(case_id: str) -> str:
    """Return what the first row of a case is bound to."""
    return sha256(f"{GENESIS}\n{case_id}")


def extend(case: Case, entries: Sequence[Entry], at: int, clock: int) -> tuple[Case, list[dict[str, Any]]]:
    """Return the case after `entries`, and the rows that say so, dated `at`, which may be later than the clock."""
    rows = []
    for entry in entries:
        facts = entry.body if clock == at else {**entry.body, CLOCK: clock}
        body = dumps(facts)
        digest = sha256(body)
        prev = case.head or start(case.id)
        seq = case.seq + 1
        case = apply(case, entry.kind, facts, at)
        keep_until = at + case.facts.keep
        made = link(prev, case.id, seq, at, entry.kind, digest, keep_until)
        rows.append(
            {
                "case_id": case.id,
                "seq": seq,
                "at": at,
                "kind": str(entry.kind),
                "body": body,
                "digest": digest,
                "prev": prev,
                "hash": made,
                "keep_until": keep_until,
            }
        )
        case = replace(case, seq=seq, head=made)
    return case, rows


def read(connection: sa.Connection, case_id: str) -> list[Record]:
    """Return the journal of one case in order."""
    rows = connection.execute(
        sa.select(t.journal).where(t.journal.c.case_id == case_id).order_by(t.journal.c.seq)
    )
    return [_record(row) for row in rows]


def _record(row: Any) -> Record:
    body = json.loads(row.body) if row.body is not None else None
    return Record(row.case_id, row.seq, row.at, Kind(row.kind), body)


def rebuild(bare: Case, records: Sequence[Record]) -> Case:
    """Return what the records add up to, beginning from a case of which only the identity is known."""
    for record in records:
        if record.body is None:
            raise ValueError(f"the journal of {bare.id} is past its retention")
        bare = apply(bare, record.kind, record.body, record.at)
    return bare
