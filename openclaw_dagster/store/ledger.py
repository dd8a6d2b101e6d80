"""The one door to the truth: events in, cases claimed, changes written; each call is one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from openclaw_dagster.store import branches, claims, conditions, events, journal, rows, tally
from openclaw_dagster.store import holds as held
from openclaw_dagster.store import tables as t
from openclaw_dagster.store.canonical import dumps
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.entries import Entry, Kind
from openclaw_dagster.store.events import Arrival, Receipt
from openclaw_dagster.store.ids import new_id
from openclaw_dagster.store.permission import may
from openclaw_dagster.store.views import Views


@dataclass(frozen=True, slots=True)
class Claim:
    """Cases taken for one run; whoever starts the claim holds them."""

    id: str
    system: str
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """Entries for one case, with the events they emit. With a fence, only its holder may write them."""

    case_id: str
    entries: tuple[Entry, ...]
    fence: int | None = None
    emitted: tuple[Arrival, ...] = ()
    only_in: frozenset[str] | None = None  # the states in which the change still makes sense
    seen: int | None = None  # journal length it was decided on


@dataclass(frozen=True, slots=True)
class Written:
    """What a write came to: the cases after it, and those that another holds, which were not written."""

    cases: Mapping[str, Case]
    lost: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Pen:
    """A transaction that writes history: its connection, its two moments, and the count it keeps.

    What is written is dated `now`, after every sealed day. What is waited for goes by `clock`, by which everybody asks
    what is due: were a day sealed by mistake, or is this clock late, cases are due when they should be all the same.
    """

    connection: sa.Connection
    now: int
    clock: int
    tally: tally.Tally

    def add(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Append journal rows."""
        if lines:
            self.connection.execute(sa.insert(t.journal), lines)
            self.tally.add(line["hash"] for line in lines)


class Ledger(Views):
    """Events, cases and journal in one database."""

    @contextmanager
    def _writing(self) -> Iterator[_Pen]:
        """Give a transaction for history, dated after every sealed day however late this clock is."""
        with self.database.write() as connection:
            mine = tally.take(connection)
            before, clock = mine.rows, self.clock.now()
            yield _Pen(connection, max(clock, mine.floor), clock, mine)
            if mine.rows != before:
                tally.keep(connection, mine)

    # ── in ──────────────────────────────────────────────────────────────────────────────────────────────────

    def receive(self, arrivals: Sequence[Arrival]) -> list[Receipt]:
        """Append events that are new and open their cases, all in one commit; a receipt each, in order."""
        with self._writing() as pen:
            return self._append(pen, arrivals)

    def _append(self, pen: _Pen, arrivals: Sequence[Arrival]) -> list[Receipt]:
        receipts, opened, hashes = events.append(pen.connection, arrivals, pen.now, pen.clock)
        pen.tally.add(hashes)
        made = [journal.extend(case, (entry,), pen.now, pen.clock) for case, entry in opened]
        for case, _ in made:
            pen.tally.move(case.system, None, case.state)
        rows.save(pen.connection, [case for case, _ in made], new=True)
        pen.add([line for _, case_lines in made for line in case_lines])
        return receipts

    def remember_spec(self, digest: str, system: str, version: str, bundle: Mapping[str, Any]) -> None:
        """Keep a version of a system: its cases go on under it whatever the files say by then."""
        if self.spec(digest) is not None:
            return
        with self._writing() as pen:
            row: dict[str, Any] = {
                "digest": digest,
                "system": system,
                "version": version,
                "bundle": dumps(bundle),
                "first_seen": pen.now,
            }
            row["hash"] = rows.spec_hash(row)
            insert = rows.upsert(pen.connection, t.specs).values(**row).on_conflict_do_nothing()
            known = sa.select(t.specs.c.digest).where(t.specs.c.digest == digest)
            if not pen.connection.execute(known).first() and pen.connection.execute(insert).rowcount:
                pen.tally.add([row["hash"]])

    # ── claimed ─────────────────────────────────────────────────────────────────────────────────────────────

    def claim(
        self, system: str, *, limit: int, lease: int, by: str, only: Sequence[str] | None = None
    ) -> Claim | None:
        """Take up to `limit` due cases for one run, critical ones first; None without any. Lease in ms.

        ClocksApart where this machine's clock is not the database's, by which others would judge the lease.
        """
        self.clocks.agree()
        with self._writing() as pen:
            if held.on(pen.connection, system):
                return None
            found = claims.company(claims.due(pen.connection, system, pen.clock, limit, only))
            if not found:
                return None
            claim = new_id("claim", pen.now)
            body = {"claim": claim, "until": pen.clock + lease, "by": by}
            changes = [
                (case, _change(case, Kind.CLAIMED, **body, fence=case.fence + 1, was=case.state))
                for case in found
            ]
            written = self._write(pen, changes)
        return Claim(claim, system, tuple(written[case.id] for case in found))

    def start(self, claim: str, *, run_id: str, lease: int, host: str) -> list[Case]:
        """Hold the cases of a claim that nobody holds yet; the fence grows: a second start finds none."""
        self.clocks.agree()  # the lease is this machine's from now on
        with self._writing() as pen:
            mine = claims.unstarted(pen.connection, claim)
            body = {"run": run_id, "until": pen.clock + lease, "host": host}
            changes = [
                (case, _change(case, Kind.STARTED, **body, fence=case.fence + 1))
                for case in sorted(mine, key=lambda case: (case.rank, case.id))
            ]
            written = self._write(pen, changes)
        return list(written.values())

    def release(self, claim: str, by: str) -> int:
        """Give back the cases of a claim whose run could not be launched; return how many."""
        with self._writing() as pen:
            locked = claims.unstarted(pen.connection, claim)
            changes = [(case, _change(case, Kind.RELEASED, by=by)) for case in locked]
            return len(self._write(pen, changes))

    def orphan(self, run_id: str, by: str) -> int:
        """Make the cases of a run due again whose process is known to be dead; return how many."""
        with self._writing() as pen:
            cases = t.cases.c
            query = sa.select(cases.id).where(cases.run_id == run_id, cases.claim.isnot(None))
            locked = rows.lock(pen.connection, pen.connection.execute(query).scalars())
            changes = [
                (case, Change(case.id, (Entry(Kind.ORPHANED, {"by": by, "run": run_id}),)))
                for case in locked.values()
                if case.run_id == run_id and case.state == "running"
            ]
            return len(self._write(pen, changes))

    def condition(
        self, seen: conditions.Seen, *, hold: int, gap: int, told: Callable[[int], Arrival]
    ) -> Receipt | None:
        """Note what a condition was read as, and append the event when it has become true for long enough.

        `hold` (ms) is how long that is, `gap` after what silence nobody knows whether it was true without a break;
        `told` makes the event from the moment since when it is true. None when no case starts.
        """
        with self._writing() as pen:
            since = conditions.note(pen.connection, seen, pen.clock, hold=hold, gap=gap)
            return self._append(pen, (told(since),))[0] if since is not None else None

    # ── held ────────────────────────────────────────────────────────────────────────────────────────────────

    def hold(self, hold: held.Hold, told: Arrival) -> bool:
        """Put a system or an action on hold and say so in the event log; False when it is already."""
        with self._writing() as pen:
            placed = held.place(pen.connection, hold)
            if placed:
                self._append(pen, (told,))
        return placed

    def unhold(self, scope: str, by: str, told: Arrival) -> int | None:
        """End a hold and make the cases due that waited for it; return how many, None without a hold."""
        with self._writing() as pen:
            if not held.lift(pen.connection, scope):
                return None
            self._append(pen, (told,))
            cases = t.cases.c
            rests = sa.select(cases.id).where(cases.state == "waiting_retry", cases.due_at.is_(None))
            locked = rows.lock(pen.connection, pen.connection.execute(rests).scalars())
            freed = [
                (case, _change(case, Kind.RELEASED, by=by)) for case in locked.values() if _rests(case, scope)
            ]
            return len(self._write(pen, freed))

    # ── changed ─────────────────────────────────────────────────────────────────────────────────────────────

    def write(self, changes: Sequence[Change]) -> Written:
        """Write changes of several cases as one, without those of an old fence or a case that moved on."""
        with self._writing() as pen:
            over = held.over(pen.connection, {scope for one in changes if (scope := _rests_for(one))})
            changes = [_goes_on(one) if _rests_for(one) in over else one for one in changes]
            locked = rows.lock(pen.connection, [change.case_id for change in changes])
            good = [
                (locked[c.case_id], c) for c in changes if c.case_id in locked and may(locked[c.case_id], c)
            ]
            written = self._write(pen, good)
        return Written(written, frozenset(change.case_id for change in changes) - written.keys())

    def _write(self, pen: _Pen, changes: Sequence[tuple[Case, Change]]) -> dict[str, Case]:
        after: dict[str, Case] = {}
        lines: list[dict[str, Any]] = []
        told: list[tuple[Case, Entry, int, int]] = []
        for case, change in changes:
            made, new_lines = journal.extend(after.get(case.id, case), change.entries, pen.now, pen.clock)
            lines += new_lines
            told += [
                (made, entry, line["seq"], pen.now)
                for entry, line in zip(change.entries, new_lines, strict=True)
            ]
            pen.tally.move(case.system, after.get(case.id, case).state, made.state)
            after[case.id] = made
        pen.add(lines)
        rows.save(pen.connection, list(after.values()), new=False)
        rows.project(pen.connection, told, pen.clock)
        emitted = [arrival for _, change in changes for arrival in change.emitted]
        if emitted:
            self._append(pen, emitted)
        before = {case.id: case for case, _ in reversed(changes)}
        self._tell(pen, [one for name, case in before.items() if (one := branches.news(case, after[name]))])
        return after

    def _tell(self, pen: _Pen, heard: Sequence[branches.News]) -> None:
        """Write into the journals of cases what became of those that they began, in the same commit."""
        if not heard:
            return
        known = rows.lock(pen.connection, [one.origin.case for one in heard])
        entries: dict[str, list[Entry]] = {}
        for one in heard:
            if one.origin.case in known and not known[one.origin.case].ended:
                entries.setdefault(one.origin.case, []).append(Entry(Kind.HEARD, one.body))
        self._write(pen, [(known[name], Change(name, tuple(lines))) for name, lines in entries.items()])


def _rests(case: Case, scope: str) -> bool:
    """Tell whether a case rests because of a hold; one that was cancelled meanwhile does so no more."""
    resting = case.state == "waiting_retry" and case.due_at is None
    return resting and any(
        scope == (one.error if one.state == "held" else one.held) for one in case.facts.steps.values()
    )


def _rests_for(change: Change) -> str:
    """Return the action because of whose hold a change lets its case rest; nothing for any other change."""
    return next((one.body["action"] for one in change.entries if one.kind is Kind.HELD), "")


def _goes_on(change: Change) -> Change:
    """Return the change of a case that would rest for a hold which somebody has just ended."""
    return replace(change, entries=(*change.entries, Entry(Kind.RELEASED, {"by": "the hold is over"})))


def _change(case: Case, kind: Kind, **body: Any) -> Change:
    return Change(case.id, (Entry(kind, body),))


def with_fence(case: Case, *entries: Entry, emitted: tuple[Arrival, ...] = ()) -> Change:
    """Return a change that only the holder of `case` may write."""
    return Change(case.id, entries, fence=case.fence, emitted=emitted)
