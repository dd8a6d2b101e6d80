"""The database is away, full or in the way: one error, nothing half written, no restart of ours."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from openclaw_dagster.clock import VirtualClock
from openclaw_dagster.store.audit import verify
from openclaw_dagster.store.database import SCHEMA, Database, DatabaseAway, SchemaTooNew
from openclaw_dagster.store.events import Receipt
from openclaw_dagster.store.ledger import Ledger, with_fence

from .samples import LEASE, NOW, arrival, begun, completed, count, held, live, open_cases, run


@pytest.fixture
def far(own_postgres: Any) -> Ledger:
    database = Database(own_postgres.fresh())
    database.migrate()
    return Ledger(database, VirtualClock(NOW))


def _calls(ledger: Ledger) -> dict[str, Callable[[], object]]:
    return {
        "receive": lambda: ledger.receive([arrival("away")]),
        "claim": lambda: ledger.claim("orders", limit=1, lease=LEASE, by="test"),
        "start": lambda: ledger.start("claim_x", run_id="r", lease=LEASE, host="here"),
        "write": lambda: ledger.write([]),
        "find": ledger.find,
        "spec": lambda: ledger.spec("d"),
        "verify": lambda: verify(ledger.database),
        "schema": ledger.database.schema,
    }


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_server_that_is_gone_is_away_and_comes_back(own_postgres: Any, far: Ledger, how: str) -> None:
    open_cases(far, 3)
    getattr(own_postgres, how)()
    try:
        for name, call in _calls(far).items():
            for _ in range(2):
                with pytest.raises(DatabaseAway):
                    pytest.fail(f"{name} gave {call()!r}")
    finally:
        own_postgres.start()
    assert [one.duplicate for one in far.receive([arrival("away")])] == [False]
    assert len(held(far)) == 4
    assert verify(far.database).faults == ()


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_server_that_leaves_in_the_middle_takes_nothing_acknowledged_with_it(
    own_postgres: Any, far: Ledger, how: str
) -> None:
    acknowledged: list[str] = []
    refused: list[str] = []
    strange: list[BaseException] = []
    stop = threading.Event()

    def post(number: int) -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            key = f"{number}-{turn}"
            try:
                far.receive([arrival(key)])
                acknowledged.append(key)
            except DatabaseAway:
                refused.append(key)
                time.sleep(0.01)
            except BaseException as error:
                strange.append(error)

    threads = [threading.Thread(target=post, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        time.sleep(0.2)
        getattr(own_postgres, how)()
        own_postgres.start()
    time.sleep(0.2)
    stop.set()
    for thread in threads:
        thread.join()
    assert strange == []
    assert refused
    keys = {case.key for case in far.find(limit=100_000)}
    assert set(acknowledged) <= keys
    again = far.receive([arrival(key) for key in acknowledged + refused])
    assert all(one.duplicate for one in again[: len(acknowledged)])
    assert len(far.find(limit=100_000)) == len(set(acknowledged + refused))
    assert verify(far.database).faults == ()


def test_nobody_listens_there(tmp_path: Path) -> None:
    with pytest.raises(DatabaseAway):
        Database("postgresql://ann:secret@127.0.0.1:1/x").migrate()
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseAway):
        Database(f"sqlite:///{tmp_path / 'file' / 'ledger.db'}").migrate()


def test_the_password_is_not_told() -> None:
    with pytest.raises(DatabaseAway) as caught:
        Database("postgresql://ann:s3cr3t@127.0.0.1:1/x").migrate()
    assert "s3cr3t" not in str(caught.value)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"not a database at all, though it is long enough to have a header" * 20)
    with pytest.raises(DatabaseAway):
        Database(f"sqlite:///{path}").migrate()


def test_a_newer_schema_is_left_alone(database: Database) -> None:
    database.migrate()
    run(database, "UPDATE claw_schema_version SET version_num = '9999'")
    with pytest.raises(SchemaTooNew, match=f"9999.*{SCHEMA}"):
        database.migrate()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Ledger]:
    """Give a ledger on a disk with room for little more than its tables."""
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    database.migrate()

    @sa.event.listens_for(database.engine, "connect")
    def limit(connection: sqlite3.Connection, _record: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 20}")

    database.engine.dispose()
    yield Ledger(database, VirtualClock(NOW))
    database.close()


def test_a_full_disk_acknowledges_nothing(small: Ledger) -> None:
    acknowledged: list[Receipt] = []

    def post() -> None:
        for number in range(1000):
            acknowledged.extend(
                small.receive([arrival(f"k{number}-{i}", payload={"text": "x" * 3000}) for i in range(3)])
            )

    with pytest.raises(DatabaseAway, match="full"):
        post()
    assert acknowledged
    for table in ("claw_events", "claw_event_keys", "claw_cases", "claw_journal"):
        assert count(small.database, table) == len(acknowledged)
    assert verify(small.database).faults == ()


def test_a_full_disk_loses_no_case_that_is_held(small: Ledger) -> None:
    open_cases(small, 1)
    [case] = held(small)

    def work() -> None:
        for number in range(1000):
            small.write([with_fence(case, begun(case, f"s{number}"), completed(f"s{number}", "x" * 9000))])

    with pytest.raises(DatabaseAway, match="full"):
        work()
    after = small.case(case.id)
    assert after is not None
    assert after.seq == len(small.journal(case.id))
    assert len(small.effects(case.id)) == len(after.facts.steps)
    assert verify(small.database).faults == ()


def test_a_writer_that_holds_the_file_too_long_is_away(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    database.migrate()
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 50")
        connection.rollback()
    holder = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseAway, match="locked"):
        Ledger(database).receive([arrival("A1")])
    holder.execute("ROLLBACK")
    assert not Ledger(database).receive([arrival("A1")])[0].duplicate
    holder.close()


def test_an_exception_inside_a_write_takes_all_of_it_back(ledger: Ledger, database: Database) -> None:
    live(ledger, 2)
    before = count(database, "claw_journal")
    [case] = ledger.find(limit=1)

    def half() -> None:
        with database.write() as connection:
            connection.execute(sa.text("DELETE FROM claw_cases"))
            raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        half()
    assert (count(database, "claw_journal"), ledger.case(case.id)) == (before, case)
