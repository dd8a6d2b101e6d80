"""Every question that is asked all day takes the same work in a ledger of 1,000 cases and in one of 100,000."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa

from openclaw_dagster.clock import VirtualClock
from openclaw_dagster.store import agenda
from openclaw_dagster.store.canonical import dumps
from openclaw_dagster.store.case import Facts
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.ledger import Ledger

from .samples import LEASE, NOW, arrival, query, run

SIZES = (1_000, 100_000)
#: Cases that are due, and dead letters that wait for somebody: as many in each ledger. The rest is history, and
#: cases of both ranks that wait for a later time.
DUE, LETTERS = 300, 60
_NUMBERS = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :size)"
_STATE = f"""CASE WHEN n <= {DUE} THEN 'open' WHEN n % 5 = 2 THEN 'dead_lettered' WHEN n % 20 IN (1, 4)
             THEN 'waiting_retry' ELSE 'completed' END"""
_AT = f"CASE WHEN n <= {DUE} THEN :now - n WHEN n % 20 IN (1, 4) THEN :now + n + 60000 ELSE NULL END"
_RANK = f"CASE WHEN n <= {DUE} THEN 1 ELSE n % 2 END"
_SYSTEM = "CASE WHEN n % 3 = 0 THEN 'orders' ELSE 'billing' END"
_FILL = (
    f"""INSERT INTO claw_cases (id, system, trigger, event_id, key, digest, state, rank, due_at, fence, created_at,
                                updated_at, redrives, facts, seq, head)
        {_NUMBERS} SELECT 'case_' || (10000000 + n), {_SYSTEM}, 'placed', 'evt_' || n, 'key' || n, 'd1', {_STATE},
        {_RANK}, {_AT}, 0, :now + n, :now, 0, :facts, 1, 'head' FROM numbers""",
    f"""INSERT INTO claw_dead_letters (case_id, seq, system, queue, stage, reason, attempts, digest, at, redriven_at)
        {_NUMBERS} SELECT 'case_' || (10000000 + n), 1, {_SYSTEM}, 'q', 's', 'why', 1, 'd1', :now + n,
        CASE WHEN n > :size - 5 * {LETTERS} THEN NULL ELSE 5 END FROM numbers WHERE n % 5 = 2""",
    f"""INSERT INTO claw_journal (case_id, seq, at, kind, body, digest, prev, hash, keep_until)
        {_NUMBERS} SELECT 'case_' || (10000000 + n), 1, :now + n, 'case.opened', '{{}}', 'd', 'p', 'h', :now
        FROM numbers""",
    f"""INSERT INTO claw_effects (key, case_id, step, action, state, attempt, fence, claimed_at)
        {_NUMBERS} SELECT 'case_' || (10000000 + n) || ':pay:1', 'case_' || (10000000 + n), 'pay', 'bank.pay',
        'done', 1, 2, :now + n FROM numbers""",
    f"""INSERT INTO claw_events (seq, id, system, name, source, key, payload, digest, received_at, keep_until, hash)
        {_NUMBERS} SELECT n, 'evt_' || n, {_SYSTEM}, 'placed', 'webhook', 'key' || n, '{{}}', 'd', :now + n,
        :now + n, 'h' FROM numbers""",
    f"""INSERT INTO claw_event_keys (system, trigger, key, event_id, case_id, digest)
        {_NUMBERS} SELECT {_SYSTEM}, 'placed', 'key' || n, 'evt_' || n, 'case_' || (10000000 + n), 'd' FROM numbers""",
)
_FILLED = ("cases", "dead_letters", "journal", "effects", "events", "event_keys")

QUESTIONS: dict[str, Callable[[Ledger], Any]] = {
    "due": lambda ledger: ledger.due(["billing", "none", "orders"]),
    "waiting": lambda ledger: agenda.waiting(ledger.database, "orders", NOW, 20),
    "receive": lambda ledger: ledger.receive([arrival("new")]),
    "receive again": lambda ledger: ledger.receive([arrival("key777")]),
    "claim": lambda ledger: ledger.claim("orders", limit=5, lease=LEASE, by="test"),
    "claim of those": lambda ledger: ledger.claim(
        "orders", limit=5, lease=LEASE, by="test", only=["case_10000030", "case_10000033"]
    ),
    "claim of none": lambda ledger: ledger.claim("none", limit=100, lease=LEASE, by="test"),
    "start": lambda ledger: ledger.start("claim_none", run_id="r", lease=LEASE, host="h"),
    "release": lambda ledger: ledger.release("claim_none", by="test"),
    "lease": lambda ledger: ledger.lease("claim_none", "run_none"),
    "orphan": lambda ledger: ledger.orphan("run_none", by="test"),
    "case": lambda ledger: ledger.case("case_10000005"),
    "newest": lambda ledger: ledger.find(),
    "newest of a system": lambda ledger: ledger.find(system="orders"),
    "newest of a state": lambda ledger: ledger.find(state="dead_lettered"),
    "none of a state": lambda ledger: ledger.find(state="cancelled"),
    "newest of both": lambda ledger: ledger.find(system="orders", state="completed"),
    "next page": lambda ledger: ledger.find(system="orders", before="case_10000700"),
    "key": lambda ledger: ledger.find(key="key777"),
    "key of a system": lambda ledger: ledger.find(system="orders", key="key777"),
    "key of a state": lambda ledger: ledger.find(state="completed", key="key777"),
    "counts": lambda ledger: ledger.counts(),
    "dead letters": lambda ledger: ledger.dead_letters(limit=10),
    "dead letters of a system": lambda ledger: ledger.dead_letters(system="orders", limit=10),
    "dead letters of a case": lambda ledger: ledger.dead_letters(case_id="case_10000997"),
    "later dead letters": lambda ledger: ledger.dead_letters(limit=10, after=(NOW, "case_")),
    "redriven": lambda ledger: ledger.dead_letters(redriven=True, limit=10),
    "redriven of a system": lambda ledger: ledger.dead_letters(system="orders", redriven=True, limit=10),
    "journal": lambda ledger: ledger.journal("case_10000005"),
    "events": lambda ledger: ledger.events(["evt_5"]),
    "effects": lambda ledger: ledger.effects("case_10000005"),
}


@pytest.fixture(scope="module", params=["sqlite", "postgres", "postgres without statistics"])
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Database, Database]]:
    """Give a ledger of each size; Postgres once after its own housekeeping, and once before."""
    made = []
    for size in SIZES:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path_factory.mktemp('crowded') / 'ledger.db'}"
        else:
            url = request.getfixturevalue("postgres").fresh()
        made.append(_filled(url, size, tidy=request.param == "postgres"))
    yield made[0], made[1]
    for database in made:
        database.close()


def _filled(url: str, size: int, *, tidy: bool) -> Database:
    database = Database(url)
    database.migrate()
    if database.dialect == "postgresql":
        for table in _FILLED:
            run(database, f"ALTER TABLE claw_{table} SET (autovacuum_enabled = false)")
    values = {"size": size, "now": NOW, "facts": dumps(Facts(("f" * 300,)).as_json())}
    for statement in _FILL:
        run(database, statement, **{name: one for name, one in values.items() if f":{name}" in statement})
    if database.dialect == "postgresql":
        run(database, "SELECT setval(pg_get_serial_sequence('claw_events', 'seq'), :size)", size=size)
    if tidy:
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
    return database


@dataclass
class Work:
    """What a question took: steps of SQLite's machine, or pages that Postgres looked at for its reads."""

    amount: int = 0
    plans: str = ""


def _work(database: Database, ask: Callable[[], Any]) -> Work:
    work, reads = Work(), []

    def step() -> None:
        work.amount += 1

    def note(connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _m: bool) -> None:
        if database.dialect == "sqlite":
            connection.connection.dbapi_connection.set_progress_handler(step, 1)
        if statement.lstrip().startswith(("SELECT", "WITH")):
            reads.append((statement, parameters))

    sa.event.listen(database.engine, "before_cursor_execute", note)
    try:
        ask()
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", note)
    with database.engine.connect() as connection, connection.begin() as transaction:
        if database.dialect == "sqlite":
            connection.connection.dbapi_connection.set_progress_handler(None, 0)  # type: ignore[union-attr]
            plans = [
                connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", parameters).all()
                for text, parameters in reads
            ]
            work.plans = "\n".join(str(row[-1]) for plan in plans for row in plan)
        else:
            for text, parameters in reads:
                explain = f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {text}"
                [[[plan]]] = connection.exec_driver_sql(explain, parameters).all()
                work.amount += plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
                work.plans += f"{text}\n{dumps(plan['Plan'])}\n"
            transaction.rollback()
    return work


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_takes_as_much_work_with_a_hundred_times_the_history(
    pair: tuple[Database, Database], question: str
) -> None:
    few, many = (
        _work(database, lambda one=database: QUESTIONS[question](Ledger(one, VirtualClock(NOW))))
        for database in pair
    )
    assert few.amount > 0
    # a tree of a hundred times the leaves is a level or two higher, which counts where pages do
    slack = 50 if pair[0].dialect == "sqlite" else 24
    assert many.amount <= 1.2 * few.amount + slack, f"{few.amount} → {many.amount}\n{many.plans}"


def test_the_crowds_are_there(pair: tuple[Database, Database]) -> None:
    assert tuple(query(one, "SELECT min(seq) FROM claw_journal")[0][0] for one in pair) == (1, 1)
    few, many = (query(one, "SELECT count(*) FROM claw_cases WHERE seq = 1")[0][0] for one in pair)
    assert SIZES[0] - DUE <= few <= SIZES[0]
    assert SIZES[1] - DUE <= many <= SIZES[1]
