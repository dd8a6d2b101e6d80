"""Who says what now: a sender claims a notice under a lease and a fence, and writes down how far it came."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from openclaw_dagster.clock import Clock, SystemClock
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.notices import Notice, notices, text, to_notice

_C = notices.c
#: What `doubt` of a notice means.
CERTAIN, MAYBE, TWICE = 0, 1, 2


class Outbox:
    """Notices of one ledger, for senders and for whoever looks."""

    def __init__(self, database: Database, clock: Clock | None = None) -> None:
        self.database = database
        self.clock = clock or SystemClock()

    def next(self, scheme: str) -> int | None:
        """Return when (ms) a notice of a channel may be claimed next, or None without any; only reads."""
        free = sa.func.coalesce(_C.held_until, 0)
        when = sa.case((free > _C.due_at, free), else_=_C.due_at)
        query = sa.select(sa.func.min(when)).where(_C.scheme == scheme, _C.due_at.isnot(None))
        with self.database.read() as connection:
            at, hush = connection.execute(query).scalar(), self._hush(connection, scheme)
        return None if at is None else max(int(at), hush)

    def _hush(self, connection: sa.Connection, scheme: str) -> int:
        """Return until when a channel wants to be left alone."""
        query = sa.select(sa.func.max(_C.hush_until)).where(_C.scheme == scheme, _C.hush_until.isnot(None))
        return int(connection.execute(query).scalar() or 0)

    def claim(self, scheme: str, *, lease: int) -> Notice | None:
        """Take the notice of a channel that waits longest, for `lease` ms; None when none may be taken now.

        What is given back has the doubt of before the claim; the row has its doubt from now on, for whoever comes
        after a sender that is never heard of again.
        """
        with self.database.write() as connection:
            now = self.clock.now()
            if self._hush(connection, scheme) > now:
                return None
            free = sa.or_(_C.held_until.is_(None), _C.held_until <= now)
            query = sa.select(notices).where(_C.scheme == scheme, _C.due_at <= now, free)
            query = query.order_by(_C.due_at, _C.wants, _C.id).limit(1).with_for_update(skip_locked=True)
            row = connection.execute(query).first()
            if row is None:
                return None
            found = to_notice(row)
            held = replace(found, fence=found.fence + 1, held_until=now + lease, attempts=found.attempts + 1)
            doubt = max(found.doubt, MAYBE) if found.message is None else found.doubt
            values = {
                "fence": held.fence, "held_until": held.held_until, "attempts": held.attempts, "doubt": doubt,
                "hush_until": None,
            }  # fmt: skip
            connection.execute(sa.update(notices).where(_C.id == found.id).values(**values))
        return held

    def said(self, notice: Notice, channel: str, message: str, *, doubt: int, look_at: int | None) -> bool:
        """Write down that a message shows what the notice wanted when it was claimed; False for an old fence.

        With `look_at` (ms) it is due again then, to look for a second message.
        """
        more = _C.wants > notice.wants
        done = None if look_at is None else look_at
        return self._finish(
            notice, channel=channel, message=message, shows=notice.wants, problem=None, attempts=0, doubt=doubt,
            state=sa.case((more, "waiting"), else_="shown" if look_at is None else "waiting"),
            due_at=sa.case((more, self.clock.now()), else_=done),
        )  # fmt: skip

    def later(
        self, notice: Notice, at: int, problem: str, *, doubt: int, hush: bool = False, lost: bool = False
    ) -> bool:
        """Write down that it is to be tried again at `at` (ms); `hush` holds the whole channel back until then,
        `lost` says that the message is not there any more. False for an old fence.
        """
        gone: dict[str, Any] = {"channel": None, "message": None} if lost else {}
        more = _C.wants > notice.wants
        due = at if hush else sa.case((more, sa.case((_C.due_at < at, _C.due_at), else_=at)), else_=at)
        return self._finish(
            notice, due_at=due, problem=text(problem), doubt=doubt, hush_until=at if hush else None, **gone
        )

    def end(self, notice: Notice, state: str, problem: str | None, *, doubt: int) -> bool:
        """Write down that nothing more is done about it, and why, until its request changes; False for an old fence."""
        kept = None if problem is None else text(problem)
        more = _C.wants > notice.wants
        return self._finish(
            notice, state=sa.case((more, "waiting"), else_=state), problem=kept, doubt=doubt,
            due_at=sa.case((more, self.clock.now()), else_=None),
        )  # fmt: skip

    def _finish(self, notice: Notice, **values: Any) -> bool:
        mine = (_C.id == notice.id, _C.fence == notice.fence)
        with self.database.write() as connection:
            update = sa.update(notices).where(*mine).values(held_until=None, **values)
            return connection.execute(update).rowcount == 1

    def again(self, notice: Notice) -> Notice | None:
        """Make a notice due again that somebody else has by now, and return it as it stands."""
        with self.database.write() as connection:
            mine = sa.update(notices).where(_C.id == notice.id)
            connection.execute(mine.values(due_at=self.clock.now(), state="waiting"))
        return self.get(notice.id)

    def revive(self, scheme: str) -> int:
        """Make due what no channel led to, of requests that still wait; return how many."""
        lost = (_C.scheme == scheme, _C.state == "nowhere", _C.open.is_(True))
        now = self.clock.now()
        with self.database.read() as connection:
            if not connection.execute(sa.select(_C.id).where(*lost).limit(1)).first():
                return 0
        values = {"state": "waiting", "due_at": now, "since": now, "attempts": 0, "problem": None}
        with self.database.write() as connection:
            return connection.execute(sa.update(notices).where(*lost).values(**values)).rowcount

    # ── for whoever looks ───────────────────────────────────────────────────────────────────────────────────

    def get(self, notice_id: str) -> Notice | None:
        """Return one notice."""
        with self.database.read() as connection:
            row = connection.execute(sa.select(notices).where(_C.id == notice_id)).first()
        return to_notice(row) if row else None

    def of_case(self, case_id: str) -> list[Notice]:
        """Return what was told, or is to be told, of one case, in order."""
        query = sa.select(notices).where(_C.case_id == case_id).order_by(_C.made_at, _C.wants, _C.id)
        with self.database.read() as connection:
            return [to_notice(row) for row in connection.execute(query)]

    def stuck(self, limit: int = 100) -> list[Notice]:
        """Return what reaches nobody although its request waits: given up, or not delivered so far."""
        bad = sa.or_(_C.state == "given_up", sa.and_(_C.state == "waiting", _C.problem.isnot(None)))
        query = sa.select(notices).where(_C.open.is_(True), bad).order_by(_C.since, _C.id).limit(limit)
        with self.database.read() as connection:
            return [to_notice(row) for row in connection.execute(query)]

    def parent(self, notice: Notice) -> Notice | None:
        """Return the request that a follow-up is about, at the same place."""
        same = (_C.case_id == notice.case_id, _C.step == notice.step, _C.request == notice.request)
        query = sa.select(notices).where(*same, _C.place == notice.place, _C.sort == "request")
        with self.database.read() as connection:
            row = connection.execute(query).first()
        return to_notice(row) if row else None
