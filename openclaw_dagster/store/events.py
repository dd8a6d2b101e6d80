"""The event log: each event once per key, with the cases it opens, in one commit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from openclaw_dagster.store import tables as t
from openclaw_dagster.store.canonical import dumps, sha256
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.entries import Entry, Kind
from openclaw_dagster.store.ids import new_id


@dataclass(frozen=True, slots=True)
class Opening:
    """A case that an event opens."""

    system: str
    trigger: str
    key: str
    digest: str
    rank: int = 1
    window: int | None = None  # ms for which the key is remembered; None for ever
    opens: bool = True  # false when the trigger's condition was: the key is remembered all the same


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event on its way into the log."""

    system: str
    name: str
    source: str
    key: str
    payload: Mapping[str, Any]
    retention: int  # ms
    openings: tuple[Opening, ...] = ()
    case_id: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one arrival: the event, the case of its first opening, and whether it was known already."""

    event_id: str
    case_id: str | None
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Event:
    """One row of the event log."""

    id: str
    system: str
    name: str
    source: str
    key: str
    payload: Mapping[str, Any] | None
    digest: str
    received_at: int
    traceparent: str | None
    case_id: str | None


def fingerprint(row: Mapping[str, Any]) -> str:
    """Return the hash over everything of an event row that never changes."""
    names = ("id", "system", "name", "source", "key", "case_id", "digest", "received_at", "keep_until", "traceparent")
    return sha256(dumps([row[name] for name in names]))


def append(
    connection: sa.Connection, arrivals: Sequence[Arrival], now: int
) -> tuple[list[Receipt], list[tuple[Case, Entry, int]]]:
    """Write the events that are new; return a receipt each, and the cases to open with their first entry."""
    rows: list[dict[str, Any]] = []
    receipts: list[Receipt] = []
    opened: list[tuple[Case, Entry, int]] = []
    for arrival in arrivals:
        row = _row(arrival, now)
        won, known = _take_keys(connection, arrival, row["id"], now)
        if arrival.openings and not won:
            first = known[0]
            receipts.append(Receipt(first.event_id, first.case_id, True))
            continue
        rows.append(row)
        for opening, case_id in won:
            if case_id is not None:
                opened.append((_case(opening, case_id, row), _opened(opening, row, arrival), row["keep_until"]))
        first_case = next((case_id for _, case_id in won), None)
        receipts.append(Receipt(row["id"], first_case, False))
    if rows:
        connection.execute(sa.insert(t.events), rows)
    return receipts, opened


def _row(arrival: Arrival, now: int) -> dict[str, Any]:
    payload = dumps(arrival.payload)
    row: dict[str, Any] = {
        "id": new_id("evt", now), "system": arrival.system, "name": arrival.name, "source": arrival.source,
        "key": arrival.key, "case_id": arrival.case_id, "payload": payload, "digest": sha256(payload),
        "received_at": now, "keep_until": now + arrival.retention, "traceparent": arrival.traceparent,
    }  # fmt: skip
    row["hash"] = fingerprint(row)
    return row


def _take_keys(
    connection: sa.Connection, arrival: Arrival, event_id: str, now: int
) -> tuple[list[tuple[Opening, str | None]], list[Any]]:
    """Take the key of each opening; return those that were free with their case's id, and the others' owners."""
    won: list[tuple[Opening, str | None]] = []
    known: list[Any] = []
    keys = t.event_keys
    insert = postgresql.insert(keys) if connection.dialect.name == "postgresql" else sqlite.insert(keys)
    for opening in arrival.openings:
        case_id = new_id("case", now) if opening.opens else None
        until = now + opening.window if opening.window else None
        values = {"system": opening.system, "trigger": opening.trigger, "key": opening.key,
                  "event_id": event_id, "case_id": case_id, "until": until}  # fmt: skip
        taken = connection.execute(
            insert.values(**values)
            .on_conflict_do_update(
                index_elements=["system", "trigger", "key"],
                set_={"event_id": event_id, "case_id": case_id, "until": until},
                where=keys.c.until <= now,
            )
            .returning(keys.c.event_id)
        ).scalar()
        if taken == event_id:
            won.append((opening, case_id))
        else:
            place = (keys.c.system == opening.system, keys.c.trigger == opening.trigger, keys.c.key == opening.key)
            known.append(connection.execute(sa.select(keys).where(*place)).one())
    return won, known


def _case(opening: Opening, case_id: str, row: Mapping[str, Any]) -> Case:
    return Case(case_id, opening.system, opening.trigger, row["id"], opening.key, opening.digest)


def _opened(opening: Opening, row: Mapping[str, Any], arrival: Arrival) -> Entry:
    body = {"system": opening.system, "trigger": opening.trigger, "event": row["id"], "event_hash": row["hash"],
            "key": opening.key, "digest": opening.digest, "rank": opening.rank, "source": arrival.source}  # fmt: skip
    return Entry(Kind.OPENED, body)


def read(connection: sa.Connection, ids: Sequence[str]) -> dict[str, Event]:
    """Return events by id."""
    rows = connection.execute(sa.select(t.events).where(t.events.c.id.in_(ids)))
    return {row.id: _event(row) for row in rows}


def _event(row: Any) -> Event:
    payload = json.loads(row.payload) if row.payload is not None else None
    return Event(
        row.id, row.system, row.name, row.source, row.key, payload, row.digest, row.received_at, row.traceparent, row.case_id
    )
