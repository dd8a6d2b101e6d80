"""The ledger's tables: one schema on SQLite and on Postgres. Times are milliseconds since 1970, UTC."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()
Millis = sa.BigInteger
#: SQLite numbers rows by itself only for a column that is exactly INTEGER.
Counter = sa.BigInteger().with_variant(sa.Integer, "sqlite")
#: Places in line, the first one first: critical, ordinary.
RANKS = (0, 1)

events = sa.Table(
    "claw_events",
    metadata,
    sa.Column("seq", Counter, primary_key=True, autoincrement=True, comment="Order of arrival."),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("system", sa.Text, nullable=False),
    sa.Column(
        "name",
        sa.Text,
        nullable=False,
        comment="The trigger, or the event's own name when a case emitted it.",
    ),
    sa.Column("source", sa.Text, nullable=False, comment="webhook, schedule, manual or emitted."),
    sa.Column("key", sa.Text, nullable=False, comment="Idempotency key."),
    sa.Column("case_id", sa.Text, comment="The case that emitted it."),
    sa.Column("payload", sa.Text, comment="JSON; NULL once its retention is over."),
    sa.Column("digest", sa.Text, nullable=False, comment="sha256 of the payload."),
    sa.Column("received_at", Millis, nullable=False),
    sa.Column(
        "keep_until", Millis, nullable=False, comment="The database refuses to shred the payload earlier."
    ),
    sa.Column("traceparent", sa.Text),
    sa.Column("hash", sa.Text, nullable=False, comment="sha256 over all of the above that never changes."),
    sa.Index("claw_events_received", "received_at"),
    sa.Index(
        "claw_events_kept",
        "keep_until",
        postgresql_where=sa.text("payload IS NOT NULL"),
        sqlite_where=sa.text("payload IS NOT NULL"),
    ),
)

event_keys = sa.Table(
    "claw_event_keys",
    metadata,
    sa.Column("system", sa.Text, primary_key=True),
    sa.Column("trigger", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("event_id", sa.Text, nullable=False),
    sa.Column(
        "case_id", sa.Text, comment="The case that handles it; NULL when the trigger's condition was false."
    ),
    sa.Column("until", Millis, comment="When the key may start a new case; NULL never."),
    sa.Column("digest", sa.Text, nullable=False, comment="sha256 of the payload it came with."),
)

cases = sa.Table(
    "claw_cases",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("system", sa.Text, nullable=False),
    sa.Column("trigger", sa.Text, nullable=False),
    sa.Column("event_id", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False, comment="The version of the system it runs under."),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column(
        "rank", sa.SmallInteger, nullable=False, comment="0 critical, 1 ordinary: who is first in line."
    ),
    sa.Column(
        "due_at",
        Millis,
        comment="When it may be claimed; for a running case, when its lease ends. NULL never.",
    ),
    sa.Column(
        "fence",
        sa.Integer,
        nullable=False,
        comment="Grows with every claim and start; an old one cannot write.",
    ),
    sa.Column("claim", sa.Text, comment="The claim that holds it."),
    sa.Column("run_id", sa.Text, comment="The Dagster run that moves it, or moved it last."),
    sa.Column("created_at", Millis, nullable=False),
    sa.Column("started_at", Millis),
    sa.Column("closed_at", Millis),
    sa.Column("updated_at", Millis, nullable=False),
    sa.Column("reason", sa.Text, comment="Why it waits, failed or ended."),
    sa.Column("redrives", sa.Integer, nullable=False),
    sa.Column(
        "facts",
        sa.Text,
        nullable=False,
        comment="JSON: what happened, what was decided, how each step stands.",
    ),
    sa.Column("seq", sa.Integer, nullable=False, comment="Length of its journal."),
    sa.Column("head", sa.Text, nullable=False, comment="Hash of its last journal row."),
    sa.Index(
        "claw_cases_due",
        "system",
        "rank",
        "due_at",
        "id",
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    ),
    sa.Index(
        "claw_cases_run",
        "run_id",
        postgresql_where=sa.text("claim IS NOT NULL"),
        sqlite_where=sa.text("claim IS NOT NULL"),
    ),
    sa.Index("claw_cases_system", "system", "id"),
    sa.Index("claw_cases_system_state", "system", "state", "id"),
    sa.Index("claw_cases_state", "state", "id"),
    sa.Index(
        "claw_cases_claim",
        "claim",
        "id",
        postgresql_where=sa.text("claim IS NOT NULL"),
        sqlite_where=sa.text("claim IS NOT NULL"),
    ),
    sa.Index("claw_cases_key", "key", "id"),
)

journal = sa.Table(
    "claw_journal",
    metadata,
    sa.Column("case_id", sa.Text, primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False, comment="1, 2, 3 … within the case."),
    sa.Column("at", Millis, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("body", sa.Text, comment="JSON; NULL once its retention is over."),
    sa.Column("digest", sa.Text, nullable=False, comment="sha256 of the body."),
    sa.Column("prev", sa.Text, nullable=False, comment="Hash of the row before it in the case."),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column(
        "keep_until", Millis, nullable=False, comment="The database refuses to shred the body earlier."
    ),
    sa.Index("claw_journal_at", "at"),
    sa.Index(
        "claw_journal_kept",
        "keep_until",
        postgresql_where=sa.text("body IS NOT NULL"),
        sqlite_where=sa.text("body IS NOT NULL"),
    ),
)

effects = sa.Table(
    "claw_effects",
    metadata,
    sa.Column("key", sa.Text, primary_key=True, comment="What is sent as Idempotency-Key."),
    sa.Column("case_id", sa.Text, nullable=False),
    sa.Column("step", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, comment="claimed, done, failed, unknown or undone."),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("fence", sa.Integer, nullable=False, comment="The fence under which it was claimed last."),
    sa.Column("claimed_at", Millis, nullable=False),
    sa.Column("finished_at", Millis),
    sa.Index("claw_effects_case", "case_id"),
)

dead_letters = sa.Table(
    "claw_dead_letters",
    metadata,
    sa.Column("case_id", sa.Text, primary_key=True),
    sa.Column(
        "seq", sa.Integer, primary_key=True, autoincrement=False, comment="The journal row that says it."
    ),
    sa.Column("system", sa.Text, nullable=False),
    sa.Column("queue", sa.Text, nullable=False),
    sa.Column("stage", sa.Text, nullable=False, comment="The decision or step that gave up."),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("digest", sa.Text, nullable=False, comment="The version of the system it failed under."),
    sa.Column("at", Millis, nullable=False),
    sa.Column("redriven_at", Millis),
    sa.Column("redriven_by", sa.Text),
    sa.Index(
        "claw_dead_letters_open",
        "at",
        "case_id",
        postgresql_where=sa.text("redriven_at IS NULL"),
        sqlite_where=sa.text("redriven_at IS NULL"),
    ),
    sa.Index(
        "claw_dead_letters_redriven",
        "at",
        "case_id",
        postgresql_where=sa.text("redriven_at IS NOT NULL"),
        sqlite_where=sa.text("redriven_at IS NOT NULL"),
    ),
    sa.Index(
        "claw_dead_letters_open_system",
        "system",
        "at",
        "case_id",
        postgresql_where=sa.text("redriven_at IS NULL"),
        sqlite_where=sa.text("redriven_at IS NULL"),
    ),
    sa.Index(
        "claw_dead_letters_redriven_system",
        "system",
        "at",
        "case_id",
        postgresql_where=sa.text("redriven_at IS NOT NULL"),
        sqlite_where=sa.text("redriven_at IS NOT NULL"),
    ),
)

specs = sa.Table(
    "claw_specs",
    metadata,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("system", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column(
        "bundle", sa.Text, nullable=False, comment="JSON: all that is needed to load this version again."
    ),
    sa.Column("first_seen", Millis, nullable=False),
    sa.Column("hash", sa.Text, nullable=False, comment="sha256 over all of the above."),
)

day_heads = sa.Table(
    "claw_day_heads",
    metadata,
    sa.Column("day", sa.Text, primary_key=True, comment="UTC day, such as 2026-01-31."),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column(
        "digest",
        sa.Text,
        nullable=False,
        comment="sha256 over the hashes of the day's events and journal rows.",
    ),
    sa.Column("prev", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)

tallies = sa.Table(
    "claw_tallies",
    metadata,
    sa.Column(
        "shard", sa.Integer, primary_key=True, autoincrement=False, comment="A writer holds one of the rows."
    ),
    sa.Column("rows", sa.BigInteger, nullable=False, comment="Rows of history counted here."),
    sa.Column("total", sa.Text, nullable=False, comment="Sum of their hashes, modulo 2^256, in hex."),
    sa.Column(
        "floor", Millis, nullable=False, comment="Days before it are sealed: nothing is dated earlier."
    ),
    sa.Column(
        "counts",
        sa.Text,
        nullable=False,
        server_default="{}",
        comment="JSON: cases by system and state; what came minus what went.",
    ),
    sa.Column(
        "counted",
        sa.BigInteger,
        nullable=False,
        server_default=sa.text("0"),
        comment="How many of the rows `counts` knows of; fewer where a version wrote that does not count.",
    ),
)

#: The tables that the database itself keeps append-only, each with the column that may be shredded in time.
APPEND_ONLY: dict[str, str | None] = {
    "claw_events": "payload",
    "claw_journal": "body",
    "claw_specs": None,
    "claw_day_heads": None,
}
