"""People come in: the requests of checkpoints that they answer, and what they put on hold."""

from alembic import op

revision = "0004"
down_revision = "0003"

STATEMENTS = (
    """
CREATE TABLE claw_checkpoints (
	case_id TEXT NOT NULL,
	step TEXT NOT NULL,
	request INTEGER NOT NULL,
	system TEXT NOT NULL,
	key TEXT NOT NULL,
	kind TEXT NOT NULL,
	state TEXT NOT NULL,
	roles TEXT NOT NULL,
	digest TEXT NOT NULL,
	asked_at BIGINT NOT NULL,
	deadline_at BIGINT,
	escalated BOOLEAN NOT NULL,
	answers INTEGER NOT NULL,
	quorum INTEGER NOT NULL,
	settled_at BIGINT,
	PRIMARY KEY (case_id, step, request)
)
""",
    "CREATE INDEX claw_checkpoints_open ON claw_checkpoints (asked_at, case_id) WHERE settled_at IS NULL",
    """
CREATE TABLE claw_holds (
	scope TEXT NOT NULL,
	by TEXT NOT NULL,
	reason TEXT NOT NULL,
	at BIGINT NOT NULL,
	PRIMARY KEY (scope)
)
""",
)
COMMENTS = (
    "COMMENT ON COLUMN claw_checkpoints.request IS '1, 2, … within the step.'",
    "COMMENT ON COLUMN claw_checkpoints.key IS 'The case''s key, for people.'",
    "COMMENT ON COLUMN claw_checkpoints.kind IS 'approval or acknowledge.'",
    "COMMENT ON COLUMN claw_checkpoints.state IS 'asked, cleared, denied, expired, voided or cancelled.'",
    "COMMENT ON COLUMN claw_checkpoints.roles IS 'JSON: whose answer counts.'",
    "COMMENT ON COLUMN claw_checkpoints.digest IS 'Of exactly what will run.'",
    "COMMENT ON COLUMN claw_checkpoints.answers IS 'How many people have said yes.'",
    "COMMENT ON COLUMN claw_holds.scope IS 'A system, or an action such as erp.refund.'",
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
