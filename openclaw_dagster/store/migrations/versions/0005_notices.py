"""People are told: what each place is to show of the requests of checkpoints, and how far that came."""

from alembic import op

revision = "0005"
down_revision = "0004"

STATEMENTS = (
    """
CREATE TABLE claw_notices (
	id TEXT NOT NULL,
	case_id TEXT NOT NULL,
	step TEXT NOT NULL,
	request INTEGER NOT NULL,
	sort TEXT NOT NULL,
	place TEXT NOT NULL,
	scheme TEXT NOT NULL,
	state TEXT NOT NULL,
	open BOOLEAN NOT NULL,
	wants INTEGER NOT NULL,
	shows INTEGER NOT NULL,
	due_at BIGINT,
	held_until BIGINT,
	fence INTEGER NOT NULL,
	since BIGINT NOT NULL,
	attempts INTEGER NOT NULL,
	doubt SMALLINT NOT NULL,
	hush_until BIGINT,
	channel TEXT,
	message TEXT,
	problem TEXT,
	made_at BIGINT NOT NULL,
	PRIMARY KEY (id)
)
""",
    "CREATE INDEX claw_notices_case ON claw_notices (case_id, step, request)",
    "CREATE INDEX claw_notices_due ON claw_notices (scheme, due_at) WHERE due_at IS NOT NULL",
    "CREATE INDEX claw_notices_hush ON claw_notices (scheme, hush_until) WHERE hush_until IS NOT NULL",
)
COMMENTS = (
    "COMMENT ON COLUMN claw_notices.id IS 'What a message carries, to be found again by.'",
    "COMMENT ON COLUMN claw_notices.request IS 'Of the step; 0 for what is about no request.'",
    "COMMENT ON COLUMN claw_notices.sort IS 'request, follow_up or handoff.'",
    "COMMENT ON COLUMN claw_notices.place IS 'Such as slack://finance.'",
    "COMMENT ON COLUMN claw_notices.scheme IS 'The channel that leads there: slack or email.'",
    "COMMENT ON COLUMN claw_notices.state IS 'waiting, shown, nowhere, given_up or moot.'",
    "COMMENT ON COLUMN claw_notices.open IS 'Whether its request waits for an answer.'",
    "COMMENT ON COLUMN claw_notices.wants IS 'The journal line that the message has to show.'",
    "COMMENT ON COLUMN claw_notices.shows IS 'The line it shows; 0 before there is a message.'",
    "COMMENT ON COLUMN claw_notices.due_at IS 'When a sender may do something about it; NULL for nothing to do.'",
    "COMMENT ON COLUMN claw_notices.held_until IS 'When the lease of the sender ends that holds it.'",
    "COMMENT ON COLUMN claw_notices.fence IS 'Grows with every claim; an old one cannot write.'",
    "COMMENT ON COLUMN claw_notices.since IS 'Since when there has been something to do.'",
    "COMMENT ON COLUMN claw_notices.attempts IS 'Since then.'",
    "COMMENT ON COLUMN claw_notices.doubt IS '1: there may be a message nobody knows of; 2: and one was posted since.'",
    "COMMENT ON COLUMN claw_notices.hush_until IS 'Until when the whole channel asked to be left alone.'",
    "COMMENT ON COLUMN claw_notices.channel IS 'Where the message is, as the far side names it.'",
    "COMMENT ON COLUMN claw_notices.message IS 'Its id there; NULL before there is one.'",
    "COMMENT ON COLUMN claw_notices.problem IS 'Why the last attempt did not work.'",
)


def upgrade() -> None:
    connection = op.get_bind()
    for statement in STATEMENTS:
        connection.exec_driver_sql(statement)
    if connection.dialect.name == "postgresql":
        for statement in COMMENTS:
            connection.exec_driver_sql(statement)


def downgrade() -> None:
    raise RuntimeError("History is not taken away: restore a backup instead.")
