"""The first ledger: events, cases, journal, effects, dead letters, versions, day heads, tallies."""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    # written out as it was shipped, for what the code describes today is a later schema
    connection = op.get_bind()
    script = Path(__file__).with_name(f"0001_{connection.dialect.name}.sql").read_text()
    for statement in script.split("\n\n"):
        connection.exec_driver_sql(statement)


def downgrade() -> None:
    raise RuntimeError("History is not taken away: restore a backup instead.")
