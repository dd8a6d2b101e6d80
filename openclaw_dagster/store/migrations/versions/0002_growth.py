"""What is asked all day costs the same however long history is: cases are counted as they are written."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

#: Indexes that no question needs any more.
DROPPED = ("claw_cases_next", "claw_cases_created", "claw_dead_letters_system")
INDEXES = (
    "CREATE INDEX claw_dead_letters_open_system ON claw_dead_letters (system, at, case_id) "
    "WHERE redriven_at IS NULL",
    "CREATE INDEX claw_dead_letters_redriven_system ON claw_dead_letters (system, at, case_id) "
    "WHERE redriven_at IS NOT NULL",
)
#: Each change of a case moves it in the line of who is due, and leaves a dead place there. Whoever looks walks over
#: all of them until Postgres tidies up: by default after changes of a fifth of the table, however large it is.
POSTGRES = (
    "COMMENT ON COLUMN claw_tallies.counts IS 'JSON: cases by system and state; what came minus what went.'",
    "COMMENT ON COLUMN claw_tallies.counted IS "
    "'How many of the rows `counts` knows of; fewer where a version wrote that does not count.'",
    "ALTER TABLE claw_cases SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000, "
    "autovacuum_analyze_scale_factor = 0.02)",
    "ALTER TABLE claw_effects SET (fillfactor = 70)",
    "ALTER TABLE claw_tallies SET (fillfactor = 50)",
)


def upgrade() -> None:
    connection = op.get_bind()
    # first of all the table that every writer holds first: none of them waits for us while we wait for it
    connection.exec_driver_sql("ALTER TABLE claw_tallies ADD COLUMN counts TEXT DEFAULT '{}' NOT NULL")
    connection.exec_driver_sql("ALTER TABLE claw_tallies ADD COLUMN counted BIGINT DEFAULT 0 NOT NULL")
    for index in DROPPED:
        connection.exec_driver_sql(f"DROP INDEX {index}")
    for statement in INDEXES:
        connection.exec_driver_sql(statement)
    if connection.dialect.name == "postgresql":
        for statement in POSTGRES:
            connection.exec_driver_sql(statement)
    _count(connection)


def _count(connection: sa.Connection) -> None:
    query = "SELECT system, state, count(*) FROM claw_cases GROUP BY system, state ORDER BY system, state"
    counts: dict[str, dict[str, int]] = {}
    for system, state, number in connection.exec_driver_sql(query):
        counts.setdefault(system, {})[state] = number
    connection.exec_driver_sql("UPDATE claw_tallies SET counted = rows")
    first = sa.text("UPDATE claw_tallies SET counts = :counts WHERE shard = 0")
    connection.execute(first, {"counts": json.dumps(counts)})


def downgrade() -> None:
    raise RuntimeError("History is not taken away: restore a backup instead.")
