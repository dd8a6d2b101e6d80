"""What people are told of requests: a row for each request and place, written with the entry it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from openclaw_dagster.store.canonical import plain
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.entries import Entry, Kind
from openclaw_dagster.store.tables import Millis, metadata

#: request: the message with the question, kept up to date; follow_up: a line below it; handoff: what an owner gets.
Sort = Literal["request", "follow_up", "handoff"]
#: waiting: there is something to do; shown: the place has the newest; nowhere: no channel leads there;
#: given_up: it did not work for a day; moot: nothing was said, and nothing has to be any more.
State = Literal["waiting", "shown", "nowhere", "given_up", "moot"]

notices = sa.Table(
    "claw_notices",
    metadata,
    sa.Column("id", sa.Text, primary_key=True, comment="What a message carries, to be found again by."),
    sa.Column("case_id", sa.Text, nullable=False),
    sa.Column("step", sa.Text, nullable=False),
    sa.Column("request", sa.Integer, nullable=False, comment="Of the step; 0 for what is about no request."),
    sa.Column("sort", sa.Text, nullable=False, comment="request, follow_up or handoff."),
    sa.Column("place", sa.Text, nullable=False, comment="Such as slack://finance."),
    sa.Column("scheme", sa.Text, nullable=False, comment="The channel that leads there: slack or email."),
    sa.Column("state", sa.Text, nullable=False, comment="waiting, shown, nowhere, given_up or moot."),
    sa.Column("open", sa.Boolean, nullable=False, comment="Whether its request waits for an answer."),
    sa.Column("wants", sa.Integer, nullable=False, comment="The journal line that the message has to show."),
    sa.Column("shows", sa.Integer, nullable=False, comment="The line it shows; 0 before there is a message."),
    sa.Column("due_at", Millis, comment="When a sender may do something about it; NULL for nothing to do."),
    sa.Column("held_until", Millis, comment="When the lease of the sender ends that holds it."),
    sa.Column(
        "fence", sa.Integer, nullable=False, comment="Grows with every claim; an old one cannot write."
    ),
    sa.Column("since", Millis, nullable=False, comment="Since when there has been something to do."),
    sa.Column("attempts", sa.Integer, nullable=False, comment="Since then."),
    sa.Column(
        "doubt",
        sa.SmallInteger,
        nullable=False,
        comment="1: there may be a message nobody knows of; 2: and one was posted since.",
    ),
    sa.Column("hush_until", Millis, comment="Until when the whole channel asked to be left alone."),
    sa.Column("channel", sa.Text, comment="Where the message is, as the far side names it."),
    sa.Column("message", sa.Text, comment="Its id there; NULL before there is one."),
    sa.Column("problem", sa.Text, comment="Why the last attempt did not work."),
    sa.Column("made_at", Millis, nullable=False),
    sa.Index("claw_notices_case", "case_id", "step", "request"),
    sa.Index(
        "claw_notices_due",
        "scheme",
        "due_at",
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    ),
    sa.Index(
        "claw_notices_hush",
        "scheme",
        "hush_until",
        postgresql_where=sa.text("hush_until IS NOT NULL"),
        sqlite_where=sa.text("hush_until IS NOT NULL"),
    ),
)

_C = notices.c
#: Entries after which nobody waits at any checkpoint of the case.
_ENDS = frozenset({Kind.CANCELLED, Kind.REDRIVEN, Kind.HANDED_OFF, Kind.DEAD_LETTERED, Kind.CLOSED})


@dataclass(frozen=True, slots=True)
class Notice:
    """One row: what one place is told of one request. Times are ms since 1970."""

    id: str
    case_id: str
    step: str
    request: int
    sort: Sort
    place: str
    scheme: str
    state: State
    open: bool
    wants: int
    shows: int
    due_at: int | None
    held_until: int | None
    fence: int
    since: int
    attempts: int
    doubt: int
    hush_until: int | None
    channel: str | None
    message: str | None
    problem: str | None
    made_at: int


def project(connection: sa.Connection, written: Sequence[tuple[Case, Entry, int, int]]) -> None:
    """Write down what has to be told after entries, given as (case after, entry, seq, at)."""
    for case, entry, seq, at in written:
        body = entry.body
        if entry.kind is Kind.ASKED:
            _settle(connection, case.id, seq, at, step=body["step"])
            _tell(connection, case.id, entry, seq, at, "request", body["request"], _places(body))
        elif entry.kind in (Kind.REMINDED, Kind.ESCALATED):
            _remind(connection, case.id, entry, seq, at)
        elif entry.kind in (Kind.CLEARANCE, Kind.VOIDED, Kind.EXPIRED):
            gate = case.facts.gates[body["step"]]
            still = gate.open and gate.request == body["request"]
            mine = (_C.case_id == case.id, _C.step == body["step"], _C.request == body["request"])
            _want(connection, mine, seq, at, still=still)
        elif entry.kind is Kind.SKIPPED and body["step"] in case.facts.gates:
            _settle(connection, case.id, seq, at, step=body["step"])
        elif entry.kind in _ENDS and case.facts.gates:
            _settle(connection, case.id, seq, at)
            if entry.kind is Kind.HANDED_OFF:
                _tell(connection, case.id, entry, seq, at, "handoff", 0, _places(body))


def _places(body: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(body.get("notify", ())))


def _tell(
    connection: sa.Connection, case_id: str, entry: Entry, seq: int, at: int, sort: Sort, request: int,
    places: Sequence[str],
) -> None:  # fmt: skip
    """Write a row for each place."""
    step = entry.body["step"] if sort != "handoff" else entry.body["stage"]
    about = f"{case_id}:{step}:{request}" if sort == "request" else f"{case_id}:{step}:{request}:{seq}"
    rows = [
        {
            "id": f"{about}:{place}", "case_id": case_id, "step": step, "request": request, "sort": sort,
            "place": place, "scheme": place.partition("://")[0], "state": "waiting", "open": sort == "request",
            "wants": seq, "shows": 0, "due_at": at, "held_until": None, "fence": 0, "since": at, "attempts": 0,
            "doubt": 0, "hush_until": None, "channel": None, "message": None, "problem": None, "made_at": at,
        }
        for place in places
    ]  # fmt: skip
    if rows:
        connection.execute(sa.insert(notices), rows)


def _remind(connection: sa.Connection, case_id: str, entry: Entry, seq: int, at: int) -> None:
    """Let each place that has the request hear of it again, and ask where it was not asked yet."""
    request, step = entry.body["request"], entry.body["step"]
    mine = (_C.case_id == case_id, _C.step == step, _C.request == request, _C.sort == "request")
    known = set(connection.execute(sa.select(_C.place).where(*mine)).scalars())
    places = _places(entry.body)
    _want(connection, mine, seq, at, still=True)
    again, new = [one for one in places if one in known], [one for one in places if one not in known]
    _tell(connection, case_id, entry, seq, at, "request", request, new)
    _tell(connection, case_id, entry, seq, at, "follow_up", request, again)


def _settle(connection: sa.Connection, case_id: str, seq: int, at: int, step: str | None = None) -> None:
    """Say of every open request of a case, or of one step, that nobody waits for its answer any more."""
    mine = [_C.case_id == case_id, _C.open.is_(True)]
    if step is not None:
        mine.append(_C.step == step)
    _want(connection, mine, seq, at, still=False)


def _want(connection: sa.Connection, mine: Sequence[Any], seq: int, at: int, *, still: bool) -> None:
    """Make messages due that show less than the journal says."""
    idle = _C.state != "waiting"
    values = {
        "wants": seq, "open": still, "state": "waiting", "due_at": at,
        "since": sa.case((idle, at), else_=_C.since), "attempts": sa.case((idle, 0), else_=_C.attempts),
    }  # fmt: skip
    connection.execute(
        sa.update(notices).where(*mine, _C.sort == "request", _C.state != "moot").values(**values)
    )


def to_notice(row: Any) -> Notice:
    """Return the notice of a row."""
    values = dict(row._mapping)
    return Notice(**{**values, "open": bool(values["open"])})


def text(problem: str) -> str:
    """Return a problem as a row keeps it."""
    return plain(problem)[:500]
