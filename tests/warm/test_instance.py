"""An instance that is kept asks for its schema once, and says the same as one that is not kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus

from openclaw_dagster.warm.instance import ASKED, keep

from .kit import Shop

#: What tells a question about tables from one about rows, on Postgres and on SQLite.
COLUMNS = ("pg_attribute", "pg_catalog.pg_class", "table_info", "table_xinfo", "sqlite_master")


@pytest.fixture
def asked() -> Iterator[list[str]]:
    """Collect the statements that read what tables there are, whoever sends them."""
    found: list[str] = []

    def hear(_: Any, __: Any, statement: str, *___: Any) -> None:
        if any(word in statement for word in COLUMNS):
            found.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", hear)
    yield found
    sa.event.remove(sa.Engine, "before_cursor_execute", hear)


def work(instance: DagsterInstance) -> None:
    """Do what dispatching and executing a run does to Dagster's storages."""
    run = instance.run_storage.add_run(DagsterRun(job_name="x", status=DagsterRunStatus.STARTED))
    instance.report_run_failed(run)
    assert instance.get_run_by_id(run.run_id).status is DagsterRunStatus.FAILURE  # type: ignore[union-attr]
    instance.all_instigator_state()


def test_the_schema_is_read_once(here: Shop, asked: list[str]) -> None:
    with DagsterInstance.get() as instance:
        work(instance)
        asked.clear()
        work(instance)
        assert asked, "Dagster does not ask any more: this module can go"
        keep(instance)
        work(instance)
        asked.clear()
        work(instance)
        assert asked == []


def test_each_question_is_answered_as_before(here: Shop) -> None:
    with DagsterInstance.get() as instance, DagsterInstance.get() as kept:
        keep(kept)
        for storage, questions in ASKED.items():
            for question in questions:
                with getattr(instance, storage).connect() as connection:
                    given = (connection,) if question.startswith("_") else ()
                    said = getattr(getattr(instance, storage), question)(*given)
                    assert said is getattr(getattr(kept, storage), question)(*given) is True, question


def test_a_column_that_is_missing_is_asked_for_until_it_is_there(
    here: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DagsterInstance.get() as instance:
        there: list[bool] = []
        monkeypatch.setattr(instance.run_storage, "has_backfill_id_column", lambda: bool(there))
        keep(instance)
        assert not instance.run_storage.has_backfill_id_column()  # type: ignore[attr-defined]
        there.append(True)
        assert instance.run_storage.has_backfill_id_column()  # type: ignore[attr-defined]
        there.clear()
        assert instance.run_storage.has_backfill_id_column()  # type: ignore[attr-defined]
