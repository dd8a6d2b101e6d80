"""Processes that start at once, and processes that are killed between two statements."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from openclaw_dagster.store.audit import verify
from openclaw_dagster.store.database import SCHEMA, Database
from openclaw_dagster.store.ledger import Ledger

from .samples import arrival, count, open_cases

_ROOT = Path(__file__).parents[2]

_MIGRATE = """
import sys, time
from pathlib import Path
from openclaw_dagster.store.database import Database
database = Database(sys.argv[1])
while not Path(sys.argv[2]).exists():
    time.sleep(0.001)
database.migrate()
print(database.schema())
"""

_DIE = """
import os, signal, sys
import sqlalchemy as sa
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.entries import Entry, Kind
from openclaw_dagster.store.events import Arrival, Opening
from openclaw_dagster.store.ledger import Ledger, with_fence

url, what, last = sys.argv[1], sys.argv[2], int(sys.argv[3])
database = Database(url)
ledger = Ledger(database)
openings = [Opening("orders", "placed", f"n{i}", "d1") for i in range(3)]
bulk = [Arrival("orders", "placed", "webhook", one.key, {}, 1000, (one,)) for one in openings]
if what == "write":
    cases = []  # each claimed alone: after two deaths it would be so anyway
    for one in ledger.find(system="orders"):
        claim = ledger.claim("orders", limit=1, lease=1, by="test", only=[one.id])
        cases += ledger.start(claim.id, run_id="run", lease=1, host="here")
left = [last]

def die(*_):
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1

sa.event.listen(database.engine, "after_cursor_execute", die)
sa.event.listen(database.engine, "commit", die)
if what == "receive":
    ledger.receive(bulk)
else:
    begun = {"step": "pay", "action": "a", "args": {}, "attempt": 1, "generation": 1, "until": 1}
    dead = Entry(Kind.DEAD_LETTERED, {"queue": "q", "stage": "pay", "reason": "r", "attempts": 1})
    ledger.write([
        with_fence(case, Entry(Kind.BEGUN, {**begun, "key": case.id}), dead, emitted=(event,))
        for case, event in zip(cases, bulk)
    ])
print("acknowledged")
"""


def _python(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )


def test_processes_that_migrate_the_same_database_at_once(database_url: str, tmp_path: Path) -> None:
    gate = tmp_path / "go"
    processes = [_python(_MIGRATE, database_url, gate) for _ in range(3)]
    gate.touch()
    for process in processes:
        out, error = process.communicate(timeout=60)
        assert (process.returncode, out.strip()) == (0, SCHEMA), error
    database = Database(database_url)
    assert count(database, "claw_tallies") == 32
    open_cases(Ledger(database), 2)
    assert verify(database).faults == ()


@pytest.mark.parametrize("what", ["receive", "write"])
def test_a_writer_killed_between_two_statements_leaves_all_or_nothing(database: Database, what: str) -> None:
    ledger = Ledger(database)
    open_cases(ledger, 3)
    cases = 3
    for last in range(30):
        letters, journal = count(database, "claw_dead_letters"), count(database, "claw_journal")
        process = _python(_DIE, database.url.render_as_string(hide_password=False), what, last)
        out, error = process.communicate(timeout=60)
        assert verify(database).faults == ()
        acknowledged = out.strip() == "acknowledged"
        if acknowledged:
            break
        assert process.returncode == -signal.SIGKILL, error
        claimed = 6 if what == "write" else 0
        assert count(database, "claw_cases") == count(database, "claw_event_keys") == cases
        assert (count(database, "claw_dead_letters"), count(database, "claw_journal")) == (
            letters,
            journal + claimed,
        )
    assert acknowledged
    assert last > 3
    assert count(database, "claw_cases") == cases + 3
    assert [one.duplicate for one in ledger.receive([arrival("n0")])] == [True]
