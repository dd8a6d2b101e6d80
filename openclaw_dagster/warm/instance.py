"""Dagster's instance in a process that lives long: connections are kept, and what its schema has is asked once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dagster import DagsterInstance

#: What Dagster reads the columns or the names of its tables for before most of its statements, by storage.
ASKED = {
    "run_storage": ("has_run_stats_index_cols", "has_backfill_id_column", "has_bulk_actions_selector_cols"),
    "schedule_storage": ("has_instigators_table", "_has_instigators_table", "has_secondary_index_table"),
}


def keep(instance: DagsterInstance, *, timeout: int = 30_000, more: int = 4) -> None:
    """Let an instance keep its connections and what it knows of its schema, from one question to the next.

    `timeout` is a statement's, in ms; `more` the connections that may be open beside the one that stays. SQLite's have
    their own way of being kept (`warm.storage`).
    """
    if type(instance.event_log_storage).__module__.startswith("dagster_postgres"):
        instance.optimize_for_webserver(statement_timeout=timeout, pool_recycle=3600, max_overflow=more)
    for name, questions in ASKED.items():
        storage = getattr(instance, name)
        for question in questions:
            setattr(storage, question, _until_true(getattr(storage, question)))


def _until_true(ask: Callable[..., bool]) -> Callable[..., bool]:
    """Return the question, no more asked once it was answered with yes: a migration adds, and takes nothing."""
    known = False

    def answer(*connection: Any) -> bool:
        nonlocal known
        known = known or ask(*connection)
        return known

    return answer
