"""Brings the schemas of the ledger and of Dagster up to date once, before several processes would race to do it."""

from __future__ import annotations

from dagster import DagsterInstance

from openclaw_dagster.settings import read_settings
from openclaw_dagster.store.database import Database


def initialise() -> None:
    """Migrate the ledger and make Dagster create its tables."""
    Database(read_settings().database).migrate()
    with DagsterInstance.get() as instance:
        instance.get_runs_count()
        instance.all_instigator_state()


if __name__ == "__main__":
    initialise()
