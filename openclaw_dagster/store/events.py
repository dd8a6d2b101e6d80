"""The event log: each event once per key, with the cases it opens, in one commit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from openclaw_dagster.store import tables as t
from openclaw_dagster.store.canonical import dumps, sha256
from openclaw_dagster.store.case import Case, Origin
from openclaw_dagster.store.entries import Entry, Kind
from openclaw_dagster.store.ids import new_id
from openclaw_dagster.store.rows import upsert

#: Keys asked for in one statement: SQLite takes a limited number of parameters.
_PAGE = 1000


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
    requester: str = ""  # who asked for it
    origin: Origin | None = None  # the step of another case that began it
    keep: int | None = (
        None  # ms for which the texts of the case are kept; None as long as the event's payload
    )


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event on its way into the log."""

    system: str
    name: str
    source: str
    key: str
    payload: Mapping[str, Any]
    retention: int  # ms; longer where a case that it opens keeps its texts for longer
    openings: tuple[Opening, ...] = ()
    case_id: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one arrival: the event, the case of its first opening, whether it was known already."""

    event_id: str
    case_id: str | None
    duplicate: bool
    differs: bool = False  # the key was known, with another payload


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
    names = (
        "seq",
        "id",
        "system",
        "name",
        "source",
        "key",
        "case_id",
        "digest",
        "received_at",
        "keep_until",
        "traceparent",
    )
    return sha256(dumps([row[name] for name in names]))


def append(
    connection: sa.Connection, arrivals: Sequence[Arrival], now: int, clock: int
) -> tuple[list[Receipt], list[tuple[Case, Entry]], list[str]]:
    """Write the events that are new; return receipts, cases to open with their first entry, and hashes.

    They are dated `now`; keys are remembered by the clock.
    """
    ids = [new_id("evt", now) for _ in arrivals]
    owners = _take_keys(connection, arrivals, ids, now, clock)
    news = [
        i
        for i, arrival in enumerate(arrivals)
        if not arrival.openings or any(o.event_id == ids[i] for o in owners[i])
    ]
    numbers = dict(zip(news, _numbers(connection, len(news)), strict=True))
    rows: list[dict[str, Any]] = []
    receipts: list[Receipt] = []
    opened: list[tuple[Case, Entry]] = []
    for i, arrival in enumerate(arrivals):
        event_id = ids[i] if i in numbers else owners[i][0].event_id
        if i not in numbers:
            known = owners[i][0]
            differs = known.digest != sha256(dumps(arrival.payload))
            receipts.append(Receipt(event_id, known.case_id, duplicate=True, differs=differs))
            continue
        receipts.append(Receipt(event_id, owners[i][0].case_id if owners[i] else None, duplicate=False))
        row = _row(arrival, ids[i], numbers[i], now)
        rows.append(row)
        for opening, owner in zip(arrival.openings, owners[i], strict=True):
            if owner.event_id == ids[i] and owner.case_id is not None:
                opened.append((_case(opening, owner.case_id, row), _opened(opening, row, arrival)))
    if rows:
        connection.execute(sa.insert(t.events), rows)
    return receipts, opened, [row["hash"] for row in rows]


def _numbers(connection: sa.Connection, count: int) -> list[int]:
    """Return the next numbers in order of arrival, before the rows are written: their hashes cover them."""
    if not count:
        return []
    if connection.dialect.name == "postgresql":
        sequence = sa.func.pg_get_serial_sequence("claw_events", "seq")
        query = sa.select(sa.func.nextval(sequence)).select_from(sa.func.generate_series(1, count))
        return sorted(connection.execute(query).scalars())
    last = connection.execute(sa.select(sa.func.max(t.events.c.seq))).scalar() or 0
    return list(range(last + 1, last + 1 + count))


def _row(arrival: Arrival, event_id: str, seq: int, now: int) -> dict[str, Any]:
    payload = dumps(arrival.payload)
    row: dict[str, Any] = {
        "seq": seq,
        "id": event_id,
        "system": arrival.system,
        "name": arrival.name,
        "source": arrival.source,
        "key": arrival.key,
        "case_id": arrival.case_id,
        "payload": payload,
        "digest": sha256(payload),
        "received_at": now,
        "keep_until": now
        + max(arrival.retention, *(one.keep or 0 for one in arrival.openings if one.opens), 0),
        "traceparent": arrival.traceparent,
    }
    row["hash"] = fingerprint(row)
    return row


@dataclass(frozen=True, slots=True)
class _Owner:
    """Who holds a key: an event, and the case it opened."""

    event_id: str
    case_id: str | None
    digest: str


_Key = tuple[str, str, str]


def _take_keys(
    connection: sa.Connection, arrivals: Sequence[Arrival], ids: Sequence[str], now: int, clock: int
) -> list[list[_Owner]]:
    """Take the keys that are free; return for each arrival who holds the key of each of its openings."""
    wanted: dict[_Key, dict[str, Any]] = {}
    for event_id, arrival in zip(ids, arrivals, strict=True):
        for opening in arrival.openings:  # of equal keys in one batch the first is asked for
            wanted.setdefault(
                _key(opening),
                {
                    "system": opening.system,
                    "trigger": opening.trigger,
                    "key": opening.key,
                    "event_id": event_id,
                    "case_id": new_id("case", now) if opening.opens else None,
                    "until": clock + opening.window if opening.window is not None else None,
                    "digest": sha256(dumps(arrival.payload)),
                },
            )
    holders = _insert_keys(connection, wanted, clock)
    holders |= _read_keys(connection, [key for key in wanted if key not in holders])
    return [[holders[_key(opening)] for opening in arrival.openings] for arrival in arrivals]


def _key(opening: Opening) -> _Key:
    return opening.system, opening.trigger, opening.key


def _insert_keys(
    connection: sa.Connection, wanted: Mapping[_Key, Mapping[str, Any]], now: int
) -> dict[_Key, _Owner]:
    if not wanted:
        return {}
    keys = t.event_keys
    insert = upsert(connection, keys)
    changed = {name: insert.excluded[name] for name in ("event_id", "case_id", "until", "digest")}
    statement = insert.on_conflict_do_update(
        index_elements=["system", "trigger", "key"], set_=changed, where=keys.c.until <= now
    ).returning(keys)
    # in one order for all writers, so that none of them blocks another
    found = connection.execute(statement, [wanted[key] for key in sorted(wanted)])
    return {_place(row): _owner(row) for row in found}


def _read_keys(connection: sa.Connection, taken: Sequence[_Key]) -> dict[_Key, _Owner]:
    keys = t.event_keys
    found: dict[_Key, _Owner] = {}
    for (system, trigger), group in groupby(sorted(taken), key=lambda key: key[:2]):
        names = [key for _, _, key in group]
        for i in range(0, len(names), _PAGE):
            place = (keys.c.system == system, keys.c.trigger == trigger, keys.c.key.in_(names[i : i + _PAGE]))
            for row in connection.execute(sa.select(keys).where(*place)):
                found[_place(row)] = _owner(row)
    return found


def _place(row: Any) -> _Key:
    return row.system, row.trigger, row.key


def _owner(row: Any) -> _Owner:
    return _Owner(row.event_id, row.case_id, row.digest)


def _case(opening: Opening, case_id: str, row: Mapping[str, Any]) -> Case:
    return Case(case_id, opening.system, opening.trigger, row["id"], opening.key, opening.digest)


def _opened(opening: Opening, row: Mapping[str, Any], arrival: Arrival) -> Entry:
    body = {
        "system": opening.system,
        "trigger": opening.trigger,
        "event": row["id"],
        "event_hash": row["hash"],
        "key": opening.key,
        "digest": opening.digest,
        "rank": opening.rank,
        "source": arrival.source,
        "keep": arrival.retention if opening.keep is None else opening.keep,
    }
    if opening.requester:
        body["requester"] = opening.requester
    if opening.origin is not None:
        body["origin"] = asdict(opening.origin)
    return Entry(Kind.OPENED, body)


def read(connection: sa.Connection, ids: Sequence[str]) -> dict[str, Event]:
    """Return events by id."""
    rows = connection.execute(sa.select(t.events).where(t.events.c.id.in_(ids)))
    return {row.id: _event(row) for row in rows}


def _event(row: Any) -> Event:
    payload = json.loads(row.payload) if row.payload is not None else None
    return Event(
        row.id,
        row.system,
        row.name,
        row.source,
        row.key,
        payload,
        row.digest,
        row.received_at,
        row.traceparent,
        row.case_id,
    )
