"""Finds every edit of history: chains per case, hashes of events, sealed days, and the count of it all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from openclaw_dagster.store import guards, rows, seals, tally
from openclaw_dagster.store import tables as t
from openclaw_dagster.store.canonical import sha256
from openclaw_dagster.store.case import Case, Facts
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.entries import Kind, apply
from openclaw_dagster.store.events import fingerprint
from openclaw_dagster.store.journal import link, start
from openclaw_dagster.store.retention import shred
from openclaw_dagster.store.rows import spec_hash
from openclaw_dagster.store.seals import seal

__all__ = ["Fault", "Verdict", "seal", "shred", "verify"]

#: Cases read at a time.
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Fault:
    """One place where history is not what was written."""

    where: str
    problem: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verification saw."""

    cases: int
    rows: int
    events: int
    days: int
    faults: tuple[Fault, ...]


@dataclass(slots=True)
class _Seen:
    """What has been read so far."""

    now: int  # by the database's clock
    cases: int = 0
    rows: int = 0
    events: int = 0
    days: int = 0
    tally: tally.Tally = field(default_factory=lambda: tally.Tally(-1))

    def add(self, value: Any) -> None:
        """Count the hash of a row; what is no hash counts as a row that adds nothing."""
        try:
            self.tally.add([value])
        except (ValueError, TypeError):
            self.tally.rows += 1


def verify(database: Database, *, external: Mapping[str, str] | None = None, most: int = 100) -> Verdict:
    """Read all of history and recompute every hash; `external` are day heads kept off the box, by day."""
    with database.read(damaged=True) as connection:
        return examine(connection, external=external or {}, most=most)


def examine(connection: sa.Connection, *, external: Mapping[str, str], most: int) -> Verdict:
    """Verify what one connection sees, and name `most` faults at most."""
    now = connection.execute(sa.select(sa.text(guards.NOW[connection.dialect.name]))).scalar_one()
    seen = _Seen(now)
    found: list[Fault] = []
    for faults in (
        _cases(connection, seen),
        _orphans(connection, seen),
        _events(connection, seen),
        _specs(connection, seen),
        _days(connection, seen, external),
        _count(connection, seen),
    ):
        for fault in faults:  # each is read to its end: what comes later compares with the count of all
            if len(found) < most:
                found.append(fault)
    return Verdict(seen.cases, seen.rows, seen.events, seen.days, tuple(found))


def _cases(connection: sa.Connection, seen: _Seen) -> Iterator[Fault]:
    """Follow the chain of each case, a page of cases at a time."""
    after = ""
    while True:
        query = sa.select(t.cases).where(t.cases.c.id > after).order_by(t.cases.c.id).limit(_PAGE)
        cases = connection.execute(query).all()
        if not cases:
            return
        ids = [case.id for case in cases]
        lines: dict[str, list[Any]] = {case_id: [] for case_id in ids}
        for row in connection.execute(
            sa.select(t.journal).where(t.journal.c.case_id.in_(ids)).order_by(t.journal.c.seq)
        ):
            lines[row.case_id].append(row)
        begun = sa.select(t.events.c.id, t.events.c.hash).where(
            t.events.c.id.in_([case.event_id for case in cases])
        )
        hashes = {row.id: row.hash for row in connection.execute(begun)}
        for case in cases:
            seen.cases += 1
            seen.tally.move(case.system, None, case.state)
            yield from _chain(case.id, lines[case.id], seen)
            yield from _case(case, lines[case.id], hashes)
        if ids[-1] == after:
            yield Fault("cases", f"the names after {after} cannot be read")
            return
        after = ids[-1]


def _orphans(connection: sa.Connection, seen: _Seen) -> Iterator[Fault]:
    """Follow the chains whose case is gone."""
    known = sa.exists().where(t.cases.c.id == t.journal.c.case_id)
    lines: dict[str, list[Any]] = {}
    for row in connection.execute(sa.select(t.journal).where(~known).order_by(t.journal.c.seq)):
        lines.setdefault(row.case_id, []).append(row)
    for case_id, chain in lines.items():
        yield from _chain(case_id, chain, seen)
        yield Fault(f"case {case_id}", "it has a journal, but the case is gone")


def _chain(case_id: str, lines: Sequence[Any], seen: _Seen) -> Iterator[Fault]:
    seq, prev = 0, start(case_id)
    for row in lines:
        seen.rows += 1
        seen.add(row.hash)
        seq += 1
        where = f"case {case_id}, row {row.seq}"
        if row.seq != seq:
            yield Fault(where, f"row {seq} is missing before it")
            seq = row.seq
        elif row.prev != prev:
            yield Fault(where, "it is not bound to the row before it")
        if row.body is None and row.keep_until > seen.now:
            yield Fault(where, "its text was taken away before its time")
        if not _fits(row.body, row.digest):
            yield Fault(where, "its text is not what was written")
        if not _holds(
            row.hash, link, row.prev, row.case_id, row.seq, row.at, row.kind, row.digest, row.keep_until
        ):
            yield Fault(where, "its hash does not fit what it says")
        prev = row.hash


def _case(row: Any, lines: Sequence[Any], hashes: Mapping[str, str]) -> Iterator[Fault]:
    """Compare the row of a case with what its journal says."""
    where = f"case {row.id}"
    if not lines:
        yield Fault(where, "it has no journal")
        return
    if (row.seq, row.head) != (lines[-1].seq, lines[-1].hash):
        yield Fault(
            where,
            f"its journal ends at row {lines[-1].seq}, but the case says {row.seq}: rows were cut or added",
        )
    if lines[0].body is None:
        return
    try:
        opened = json.loads(lines[0].body)
        if opened["event"] != row.event_id or hashes.get(row.event_id) != opened["event_hash"]:
            yield Fault(where, "the event it began with is gone or changed")
        # who reads a case takes the fields that it knows, and would not see another one
        strange = json.loads(row.facts).keys() - set(Facts.__slots__)
        whole = all(line.body is not None for line in lines)
        if strange or (whole and _add_up(row, opened, lines) != rows.to_case(row)):
            yield Fault(where, "it is not what its journal adds up to")
    except (ValueError, KeyError, TypeError, AttributeError):
        yield Fault(where, "it or its journal cannot be read")


def _add_up(row: Any, opened: Mapping[str, Any], lines: Sequence[Any]) -> Case:
    case = Case(
        row.id,
        opened["system"],
        opened["trigger"],
        opened["event"],
        opened["key"],
        opened["digest"],
        seq=row.seq,
        head=row.head,
    )
    for line in lines:
        case = apply(case, Kind(line.kind), json.loads(line.body), line.at)
    return case


def _events(connection: sa.Connection, seen: _Seen) -> Iterator[Fault]:
    query = sa.select(t.events).order_by(t.events.c.seq)
    for row in connection.execute(query, execution_options={"yield_per": 1000}):
        seen.events += 1
        seen.add(row.hash)
        where = f"event {row.id}"
        if row.payload is None and row.keep_until > seen.now:
            yield Fault(where, "its payload was taken away before its time")
        if not _fits(row.payload, row.digest):
            yield Fault(where, "its payload is not what was received")
        if not _holds(row.hash, fingerprint, row._mapping):
            yield Fault(where, "its hash does not fit what it says")


def _specs(connection: sa.Connection, seen: _Seen) -> Iterator[Fault]:
    for row in connection.execute(sa.select(t.specs)):
        seen.add(row.hash)
        said = {name: value for name, value in row._mapping.items() if name != "hash"}
        if not _holds(row.hash, spec_hash, said):
            yield Fault(f"version {row.digest} of {row.system}", "it is not the one that was kept")


def _days(connection: sa.Connection, seen: _Seen, external: Mapping[str, str]) -> Iterator[Fault]:
    prev = seals.GENESIS
    sealed: dict[str, str] = {}
    for row in connection.execute(sa.select(t.day_heads).order_by(t.day_heads.c.day)).all():
        seen.days += 1
        seen.add(row.hash)
        where = f"day {row.day}"
        try:
            now = seals.content(connection, row.day)
        except ValueError:
            yield Fault(where, "it is no day")
            continue
        if now != (row.rows, row.digest):
            yield Fault(where, f"it was sealed with {row.rows} rows and now has {now[0]}, or other ones")
        if row.prev != prev or not _holds(row.hash, seals.bind, row.prev, row.day, row.rows, row.digest):
            yield Fault(where, "its seal is not bound to the day before it")
        prev = row.hash
        sealed[row.day] = row.hash
    for day, head in external.items():
        if sealed.get(day) != head:
            yield Fault(f"day {day}", "its seal is not the one that was kept elsewhere")


def _count(connection: sa.Connection, seen: _Seen) -> Iterator[Fault]:
    try:
        written = tally.read(connection)
    except (ValueError, TypeError):
        yield Fault("history", "the count of its rows cannot be read")
        return
    if (written.rows, written.total) != (seen.tally.rows, seen.tally.total):
        here = f"{written.rows} rows were written and {seen.tally.rows} are here, or other ones"
        yield Fault("history", f"{here}: some were taken away or added")
    if written.counted == written.rows and written.cases != seen.tally.cases:
        yield Fault("cases", "their numbers by system and state are not what is here")


def _fits(text: Any, digest: str) -> bool:
    return text is None or _holds(digest, sha256, text)


def _holds(written: Any, compute: Callable[..., str], *values: Any) -> bool:
    """Tell whether a hash is the one that was written; values of a kind that is never written have none."""
    try:
        return bool(compute(*values) == written)
    except (TypeError, ValueError, AttributeError):
        return False
