"""Finds every edit of history: chains per case, hashes of events, sealed days."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from openclaw_dagster.clock import DAY, MINUTE, day_of
from openclaw_dagster.store import tables as t
from openclaw_dagster.store.canonical import sha256
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.events import fingerprint
from openclaw_dagster.store.journal import GENESIS, link, start

#: A day is sealed this long (ms) after it ended, when no transaction that began in it can still be open.
SETTLE = 10 * MINUTE


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


def verify(database: Database, *, external: dict[str, str] | None = None, most: int = 100) -> Verdict:
    """Read all of history and recompute every hash; `external` are day heads kept off the box, by day."""
    with database.read() as connection:
        counts = {"cases": 0, "rows": 0, "events": 0, "days": 0}
        found: list[Fault] = []
        for fault in (
            *_chains(connection, counts),
            *_events(connection, counts),
            *_days(connection, counts, external or {}),
        ):
            if len(found) < most:
                found.append(fault)
    return Verdict(**counts, faults=tuple(found))


def _chains(connection: sa.Connection, counts: dict[str, int]) -> Iterator[Fault]:
    heads = {
        row.id: (row.seq, row.head, row.event_id)
        for row in connection.execute(sa.select(t.cases.c.id, t.cases.c.seq, t.cases.c.head, t.cases.c.event_id))
    }
    hashes = dict(connection.execute(sa.select(t.events.c.id, t.events.c.hash)).all())  # type: ignore[arg-type]
    counts["cases"] = len(heads)
    query = sa.select(t.journal).order_by(t.journal.c.case_id, t.journal.c.seq)
    case_id, seq, prev = "", 0, ""
    rows = connection.execution_options(yield_per=1000).execute(query)
    for row in rows:
        counts["rows"] += 1
        if row.case_id != case_id:
            yield from _tail(heads, case_id, seq, prev)
            case_id, seq, prev = row.case_id, 0, start(row.case_id)
        seq += 1
        where = f"case {row.case_id}, row {row.seq}"
        if row.seq != seq:
            yield Fault(where, f"row {seq} is missing before it")
            seq = row.seq
        elif row.prev != prev:
            yield Fault(where, "it is not bound to the row before it")
        if row.body is not None and sha256(row.body) != row.digest:
            yield Fault(where, "its text is not what was written")
        if link(row.prev, row.case_id, row.seq, row.at, row.kind, row.digest) != row.hash:
            yield Fault(where, "its hash does not fit what it says")
        if row.seq == 1 and row.body is not None:
            yield from _opening(heads, hashes, row, where)
        prev = row.hash
    yield from _tail(heads, case_id, seq, prev)
    for lone in heads:
        yield Fault(f"case {lone}", "it has no journal")


def _opening(heads: dict[str, Any], hashes: dict[str, str], row: Any, where: str) -> Iterator[Fault]:
    try:
        body = json.loads(row.body)
        event, made = body["event"], body["event_hash"]
    except (ValueError, KeyError, TypeError):
        return  # said already: its text is not what was written
    if hashes.get(event) != made:
        yield Fault(where, "the event it began with is gone or changed")
    if row.case_id in heads and heads[row.case_id][2] != event:
        yield Fault(where, "the case names another event than its journal")


def _tail(heads: dict[str, Any], case_id: str, seq: int, prev: str) -> Iterator[Fault]:
    if not case_id:
        return
    known = heads.pop(case_id, None)
    if known is None:
        yield Fault(f"case {case_id}", "it has a journal, but the case is gone")
    elif known[:2] != (seq, prev):
        yield Fault(f"case {case_id}", f"its journal ends at row {seq}, but the case says {known[0]}: rows were cut or added")


def _events(connection: sa.Connection, counts: dict[str, int]) -> Iterator[Fault]:
    for row in connection.execution_options(yield_per=1000).execute(sa.select(t.events).order_by(t.events.c.seq)):
        counts["events"] += 1
        where = f"event {row.id}"
        if row.payload is not None and sha256(row.payload) != row.digest:
            yield Fault(where, "its payload is not what was received")
        if fingerprint(row._mapping) != row.hash:
            yield Fault(where, "its hash does not fit what it says")


def _days(connection: sa.Connection, counts: dict[str, int], external: dict[str, str]) -> Iterator[Fault]:
    prev = sha256(GENESIS)
    sealed: dict[str, str] = {}
    for row in connection.execute(sa.select(t.day_heads).order_by(t.day_heads.c.day)):
        counts["days"] += 1
        where = f"day {row.day}"
        rows, digest = _day(connection, row.day)
        if (rows, digest) != (row.rows, row.digest):
            yield Fault(where, f"it was sealed with {row.rows} rows and now has {rows}, or other ones")
        if row.prev != prev or _seal(row.prev, row.day, row.rows, row.digest) != row.hash:
            yield Fault(where, "its seal is not bound to the day before it")
        prev = row.hash
        sealed[row.day] = row.hash
    for day, head in external.items():
        if sealed.get(day) != head:
            yield Fault(f"day {day}", "its seal is not the one that was kept elsewhere")


def _seal(prev: str, day: str, rows: int, digest: str) -> str:
    return sha256("\n".join((prev, day, str(rows), digest)))


def _day(connection: sa.Connection, day: str) -> tuple[int, str]:
    begin = _begin(day)
    rows, text = 0, sha256(day)
    journal = (
        sa.select(t.journal.c.hash)
        .where(t.journal.c.at >= begin, t.journal.c.at < begin + DAY)
        .order_by(t.journal.c.at, t.journal.c.case_id, t.journal.c.seq)
    )
    log = sa.select(t.events.c.hash).where(t.events.c.received_at >= begin, t.events.c.received_at < begin + DAY)
    for query in (journal, log.order_by(t.events.c.received_at, t.events.c.id)):
        for value in connection.execution_options(yield_per=1000).execute(query).scalars():
            rows += 1
            text = sha256(text + value)
    return rows, text


def _begin(day: str) -> int:
    from datetime import UTC, datetime

    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000


def seal(database: Database, now: int) -> list[tuple[str, str]]:
    """Seal every day that is over and not sealed yet, oldest first; return (day, seal) of each, to be kept elsewhere."""
    made: list[tuple[str, str]] = []
    with database.write() as connection:
        if database.dialect == "postgresql":
            connection.exec_driver_sql("LOCK TABLE claw_day_heads IN EXCLUSIVE MODE")
        last = connection.execute(sa.select(t.day_heads).order_by(t.day_heads.c.day.desc()).limit(1)).first()
        if last:
            begin, prev = _begin(last.day) + DAY, last.hash
        else:
            first = connection.execute(sa.select(sa.func.min(t.events.c.received_at))).scalar()
            begin, prev = _begin(day_of(first)) if first is not None else now, sha256(GENESIS)
        while begin + DAY + SETTLE <= now:
            day = day_of(begin)
            rows, digest = _day(connection, day)
            head = _seal(prev, day, rows, digest)
            connection.execute(sa.insert(t.day_heads).values(day=day, rows=rows, digest=digest, prev=prev, hash=head))
            made.append((day, head))
            prev, begin = head, begin + DAY
    return made


def shred(database: Database, now: int) -> int:
    """Take away the payloads and texts whose retention is over; digests and hashes stay. Return how many."""
    with database.write() as connection:
        gone = 0
        for table, column in ((t.events, t.events.c.payload), (t.journal, t.journal.c.body)):
            update = sa.update(table).where(table.c.keep_until <= now, column.isnot(None)).values({column.name: None})
            gone += connection.execute(update).rowcount
    return gone
