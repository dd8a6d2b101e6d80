"""The tables of what people and the outside have to do with: checkpoints, holds, conditions."""

from __future__ import annotations

import sqlalchemy as sa

from openclaw_dagster.store.tables import Millis, metadata

checkpoints = sa.Table(
    "claw_checkpoints",
    metadata,
    sa.Column("case_id", sa.Text, primary_key=True),
    sa.Column("step", sa.Text, primary_key=True),
    sa.Column(
        "request", sa.Integer, primary_key=True, autoincrement=False, comment="1, 2, … within the step."
    ),
    sa.Column("system", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False, comment="The case's key, for people."),
    sa.Column("kind", sa.Text, nullable=False, comment="approval or acknowledge."),
    sa.Column(
        "state", sa.Text, nullable=False, comment="asked, cleared, denied, expired, voided or cancelled."
    ),
    sa.Column("roles", sa.Text, nullable=False, comment="JSON: whose answer counts."),
    sa.Column("digest", sa.Text, nullable=False, comment="Of exactly what will run."),
    sa.Column("asked_at", Millis, nullable=False),
    sa.Column("deadline_at", Millis),
    sa.Column("escalated", sa.Boolean, nullable=False),
    sa.Column("answers", sa.Integer, nullable=False, comment="How many people have said yes."),
    sa.Column("quorum", sa.Integer, nullable=False),
    sa.Column("settled_at", Millis),
    sa.Index(
        "claw_checkpoints_open",
        "asked_at",
        "case_id",
        postgresql_where=sa.text("settled_at IS NULL"),
        sqlite_where=sa.text("settled_at IS NULL"),
    ),
)

holds = sa.Table(
    "claw_holds",
    metadata,
    sa.Column("scope", sa.Text, primary_key=True, comment="A system, or an action such as erp.refund."),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", Millis, nullable=False),
)

conditions = sa.Table(
    "claw_conditions",
    metadata,
    sa.Column("system", sa.Text, primary_key=True),
    sa.Column("trigger", sa.Text, primary_key=True),
    sa.Column("since", Millis, comment="Since when it is true without a break; NULL while it is not."),
    sa.Column("fired", sa.Boolean, nullable=False, comment="Whether it has started a case since then."),
    sa.Column("read_at", Millis, nullable=False, comment="When it was read last."),
)
