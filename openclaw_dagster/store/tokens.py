"""What people and programs show instead of a password: sessions and API tokens, of which only a hash is kept."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from openclaw_dagster.clock import MINUTE, Clock, SystemClock
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.ids import new_id
from openclaw_dagster.store.tables import Millis, metadata

Kind = Literal["session", "token"]

#: What a token begins with, so that people and scanners of leaked secrets know it when they see it.
PREFIX = "claw_"
#: How exactly it is kept when a token was used last, in ms: a write for every request would be too much.
SEEN = MINUTE
#: Most sessions of one person: the oldest ends when another begins.
MOST_SESSIONS = 20

tokens = sa.Table(
    "claw_tokens",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column(
        "hash", sa.Text, nullable=False, unique=True, comment="sha256 of the token; it is nowhere else."
    ),
    sa.Column("kind", sa.Text, nullable=False, comment="session or token."),
    sa.Column("person", sa.Text, nullable=False),
    sa.Column("claims", sa.Text, nullable=False, comment="JSON: what was known at its making."),
    sa.Column("created_at", Millis, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("expires_at", Millis, nullable=False),
    sa.Column("seen_at", Millis, nullable=False, comment="When it was used last, to the minute."),
    sa.Column("revoked_at", Millis),
    sa.Index("claw_tokens_person", "person", "kind", "seen_at"),
    sa.Index("claw_tokens_expires", "expires_at"),
)


@dataclass(frozen=True, slots=True)
class Token:
    """One session or API token as it is kept; times in ms since 1970, UTC."""

    id: str
    kind: Kind
    person: str  # whom it stands for
    claims: dict[str, Any]  # of a session: name, groups; of a token: label, levels
    created_at: int
    created_by: str
    expires_at: int
    seen_at: int
    revoked_at: int | None

    def state(self, now: int) -> Literal["live", "expired", "revoked"]:
        """Return whether it still opens anything."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at <= now else "live"


class Tokens:
    """Makes, finds and ends sessions and API tokens."""

    def __init__(self, database: Database, clock: Clock | None = None) -> None:
        self.database = database
        self.clock = clock or SystemClock()

    def make(
        self, kind: Kind, person: str, *, lasts: int, by: str, claims: dict[str, Any] | None = None
    ) -> tuple[str, Token]:
        """Make a token that lasts so many ms; return its text, which is never to be had again, and its row."""
        now = self.clock.now()
        text = PREFIX + secrets.token_urlsafe(32)
        row = {
            "id": new_id(kind, now), "hash": _hash(text), "kind": kind, "person": person,
            "claims": json.dumps(claims or {}, ensure_ascii=False), "created_at": now, "created_by": by,
            "expires_at": now + lasts, "seen_at": now, "revoked_at": None,
        }  # fmt: skip
        with self.database.write() as connection:
            connection.execute(sa.insert(tokens).values(**row))
            if kind == "session":
                _tidy(connection, person, now)
        return text, _token(row)

    def find(self, text: str, kind: Kind, *, idle: int | None = None) -> Token | None:
        """Return the live token with this text, used within `idle` ms; None when there is none. It is used by that."""
        if not text.startswith(PREFIX) or len(text) > 100:
            return None
        now = self.clock.now()
        live = sa.select(tokens).where(
            tokens.c.hash == _hash(text),
            tokens.c.kind == kind,
            tokens.c.expires_at > now,
            tokens.c.revoked_at.is_(None),
        )
        with self.database.read() as connection:
            row = connection.execute(live).mappings().first()
        if row is None or (idle is not None and row["seen_at"] + idle <= now):
            return None
        if row["seen_at"] + SEEN <= now:
            with self.database.write() as connection:
                # never back: of two hosts whose clocks differ, the later one is right
                used = sa.update(tokens).where(tokens.c.id == row["id"], tokens.c.seen_at < now)
                connection.execute(used.values(seen_at=now))
        return _token(row)

    def revoke(self, token_id: str) -> Token | None:
        """End a token or session for good; return it, or None when there is none of the id."""
        now = self.clock.now()
        one = tokens.c.id == token_id
        with self.database.write() as connection:
            ended = sa.update(tokens).where(one, tokens.c.revoked_at.is_(None)).values(revoked_at=now)
            connection.execute(ended)
            row = connection.execute(sa.select(tokens).where(one)).mappings().first()
        return _token(row) if row is not None else None

    def all(self, kind: Kind = "token", *, limit: int = 1_000) -> Sequence[Token]:
        """Return tokens, the newest first."""
        query = (
            sa.select(tokens).where(tokens.c.kind == kind).order_by(tokens.c.created_at.desc(), tokens.c.id)
        )
        with self.database.read() as connection:
            return [_token(row) for row in connection.execute(query.limit(limit)).mappings()]


def _tidy(connection: sa.Connection, person: str, now: int) -> None:
    """Take away sessions that are over, and those of one person that are too many."""
    session = tokens.c.kind == "session"
    connection.execute(sa.delete(tokens).where(session, tokens.c.expires_at <= now))
    mine = sa.select(tokens.c.id).where(session, tokens.c.person == person)
    extra = mine.order_by(tokens.c.created_at.desc(), tokens.c.id.desc()).offset(MOST_SESSIONS).limit(1_000)
    gone = connection.execute(extra).scalars().all()
    if gone:
        connection.execute(sa.delete(tokens).where(tokens.c.id.in_(gone)))


def _hash(text: str) -> str:
    """Return what is kept of a token; it is 256 bits of chance, so one round of a plain hash is enough."""
    return hashlib.sha256(text.encode()).hexdigest()


def _token(row: Any) -> Token:
    return Token(
        row["id"], row["kind"], row["person"], json.loads(row["claims"]), row["created_at"], row["created_by"],
        row["expires_at"], row["seen_at"], row["revoked_at"],
    )  # fmt: skip
