"""Runs the migrations on the connection that `store.database` hands over."""

from alembic import context

from openclaw_dagster.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="claw_schema_version",
    transactional_ddl=True,
)
context.run_migrations()
