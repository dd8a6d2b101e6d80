"""The first ledger: events, cases, journal, effects, dead letters, versions, day heads, tallies."""

from alembic import op

from openclaw_dagster.store import guards, tally
from openclaw_dagster.store.tables import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    connection = op.get_bind()
    metadata.create_all(connection)
    guards.install(connection)
    tally.begin(connection)


def downgrade() -> None:
    raise RuntimeError("History is not taken away: restore a backup instead.")
