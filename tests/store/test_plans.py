"""Every question that is asked all day is answered from an index, however many cases there are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from openclaw_dagster.store.canonical import dumps
from openclaw_dagster.store.case import Facts
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.ledger import Ledger

from .samples import LEASE, NOW, query, run

CASES = 100_000
_STATE = """CASE WHEN n % 1000 = 0 THEN 'open' WHEN n % 50 = 0 THEN 'dead_lettered' WHEN n % 20 = 1
            THEN 'waiting_retry' ELSE 'completed' END"""
_DUE = "CASE WHEN n % 1000 = 0 THEN :now - n WHEN n % 20 = 1 THEN :now + n + 60000 ELSE NULL END"
_FILL = f"""
INSERT INTO claw_cases (id, system, trigger, event_id, key, digest, state, rank, due_at, fence, created_at,
                        updated_at, redrives, facts, seq, head)
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {CASES})
SELECT 'case_' || (10000000 + n), CASE WHEN n % 3 = 0 THEN 'orders' ELSE 'billing' END, 'placed',
       'evt_' || n, 'key' || n, 'd1', {_STATE}, n % 2, {_DUE}, 0, :now + n, :now, 0, :facts, 1, 'head'
FROM numbers"""
_LETTERS = """
INSERT INTO claw_dead_letters (case_id, seq, system, queue, stage, reason, attempts, digest, at, redriven_at)
SELECT id, 1, system, 'q', 's', :facts, 1, 'd1', created_at, CASE WHEN rank = 0 THEN NULL ELSE 5 END
FROM claw_cases WHERE rank = 0 OR state = 'completed'"""


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def crowded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Give a database of each kind with as many cases as a busy year leaves."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('crowded') / 'ledger.db'}"
    else:
        url = request.getfixturevalue("postgres").fresh()
    database = Database(url)
    database.migrate()
    run(database, _FILL, now=NOW, facts=dumps(Facts(("f" * 500,)).as_json()))
    run(database, _LETTERS, facts="f" * 100)
    if request.param == "postgres":  # as its own housekeeping does from time to time
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
    yield database
    database.close()


QUESTIONS: dict[str, Callable[[Ledger], Any]] = {
    "due": lambda ledger: ledger.claim("none", limit=100, lease=LEASE, by="test"),
    "due of a crowded system": lambda ledger: ledger.claim("orders", limit=5, lease=LEASE, by="test"),
    "start": lambda ledger: ledger.start("claim_none", run_id="r", lease=LEASE, host="h"),
    "case": lambda ledger: ledger.case("case_10000005"),
    "newest": lambda ledger: ledger.find(),
    "newest of a system": lambda ledger: ledger.find(system="orders"),
    "newest of a state": lambda ledger: ledger.find(state="dead_lettered"),
    "none of a state": lambda ledger: ledger.find(state="cancelled"),
    "newest of both": lambda ledger: ledger.find(system="orders", state="completed"),
    "next page": lambda ledger: ledger.find(system="orders", before="case_10050000"),
    "key": lambda ledger: ledger.find(key="key777"),
    "key of a system": lambda ledger: ledger.find(system="orders", key="key777"),
    "counts": lambda ledger: ledger.counts(),
    "dead letters": lambda ledger: ledger.dead_letters(),
    "dead letters of a system": lambda ledger: ledger.dead_letters(system="orders"),
    "redriven": lambda ledger: ledger.dead_letters(redriven=True),
    "effects": lambda ledger: ledger.effects("case_10000005"),
}


def _plans(database: Database, ask: Callable[[], Any]) -> list[str]:
    asked: list[tuple[str, Any]] = []

    def note(
        _connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool
    ) -> None:
        if statement.lstrip().startswith("SELECT") and "claw_tallies" not in statement and not many:
            asked.append((statement, parameters))

    sa.event.listen(database.engine, "before_cursor_execute", note)
    try:
        ask()
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", note)
    explain = "EXPLAIN QUERY PLAN " if database.dialect == "sqlite" else "EXPLAIN "
    with database.engine.connect() as connection:
        return [
            "\n".join(str(row[-1]) for row in connection.exec_driver_sql(explain + statement, parameters))
            for statement, parameters in asked
        ]


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_index_answers(crowded: Database, question: str) -> None:
    ledger = Ledger(crowded)
    plans = _plans(crowded, lambda: QUESTIONS[question](ledger))
    assert plans
    for plan in plans:
        for line in plan.splitlines():
            assert "Seq Scan on claw_cases" not in line, plan
            assert "Seq Scan on claw_dead" not in line, plan
            assert not (line.startswith("SCAN claw_") and "USING" not in line), plan
            assert "claw_effects" in plan or "USE TEMP B-TREE FOR" not in line, plan


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_answer_is_quick(crowded: Database, question: str) -> None:
    ledger = Ledger(crowded)
    best = min(_seconds(lambda: QUESTIONS[question](ledger)) for _ in range(3))
    assert best < 0.5, f"{best:.3f} s"  # without its index it takes seconds


def _seconds(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def test_the_crowd_is_there(crowded: Database) -> None:
    assert query(crowded, "SELECT count(*) FROM claw_cases")[0][0] == CASES
