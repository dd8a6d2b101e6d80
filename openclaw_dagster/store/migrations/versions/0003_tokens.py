"""What people and programs show instead of a password: sessions and API tokens, hashed."""

from alembic import op

from openclaw_dagster.store.tokens import tokens

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    tokens.create(op.get_bind(), checkfirst=True)


def downgrade() -> None:
    raise RuntimeError("Tokens are not taken away: restore a backup instead.")
