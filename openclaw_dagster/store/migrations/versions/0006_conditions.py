"""What conditions were read as is kept, so that each fires once."""

from alembic import op

revision = "0006"
down_revision = "0005"

TABLE = """
CREATE TABLE claw_conditions (
	system TEXT NOT NULL,
	trigger TEXT NOT NULL,
	since BIGINT,
	fired BOOLEAN NOT NULL,
	read_at BIGINT NOT NULL,
	PRIMARY KEY (system, trigger)
)
"""
COMMENTS = (
    "COMMENT ON COLUMN claw_conditions.since IS 'Since when it is true without a break; NULL while it is not.'",
    "COMMENT ON COLUMN claw_conditions.fired IS 'Whether it has started a case since then.'",
    "COMMENT ON COLUMN claw_conditions.read_at IS 'When it was read last.'",
)


def upgrade() -> None:
    connection = op.get_bind()
    connection.exec_driver_sql(TABLE)
    if connection.dialect.name == "postgresql":
        for statement in COMMENTS:
            connection.exec_driver_sql(statement)


def downgrade() -> None:
    raise RuntimeError("History is not taken away: restore a backup instead.")
