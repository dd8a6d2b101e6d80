"""Good arrivals and entries, so that a test can say only what is different in it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import sqlalchemy as sa

from openclaw_dagster.clock import DAY, MINUTE
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.entries import Entry, Kind
from openclaw_dagster.store.events import Arrival, Opening
from openclaw_dagster.store.ledger import Ledger, with_fence

NOW = 1_767_225_600_000  # 2026-01-01T00:00:00Z
LEASE = 5 * MINUTE


def opening(key: str, **changes: Any) -> Opening:
    return Opening(**{"system": "orders", "trigger": "placed", "key": key, "digest": "d1"} | changes)


def arrival(key: str, *openings: Opening, **changes: Any) -> Arrival:
    plain = {
        "system": "orders",
        "name": "placed",
        "source": "webhook",
        "key": key,
        "payload": {"order": key},
        "retention": 30 * DAY,
    }
    return Arrival(**plain | {"openings": openings or (opening(key),)} | changes)


def open_cases(ledger: Ledger, count: int, prefix: str = "k", **changes: Any) -> list[str]:
    keys = [f"{prefix}{number}" for number in range(count)]
    return [
        str(one.case_id) for one in ledger.receive([arrival(key, opening(key, **changes)) for key in keys])
    ]


def held(ledger: Ledger, limit: int = 100, run: str = "run") -> list[Case]:
    claim = ledger.claim("orders", limit=limit, lease=LEASE, by="test")
    return ledger.start(claim.id, run_id=run, lease=LEASE, host="here") if claim else []


def begun(case: Case, step: str = "pay", attempt: int = 1, generation: int = 1) -> Entry:
    body = {"step": step, "action": "bank.pay", "key": f"{case.id}:{step}:{generation}", "args": {"cents": 5}}
    return Entry(Kind.BEGUN, body | {"attempt": attempt, "generation": generation, "until": NOW + LEASE})


def completed(step: str = "pay", result: Any = "ok") -> Entry:
    return Entry(Kind.COMPLETED, {"step": step, "result": result})


def retry(due_at: int, step: str = "pay", error: str = "timeout", attempt: int = 1) -> Entry:
    return Entry(Kind.RETRY, {"step": step, "due_at": due_at, "error": error, "attempt": attempt})


def unknown(due_at: int, step: str = "pay", error: str = "no answer", attempt: int = 1) -> Entry:
    return Entry(Kind.UNKNOWN, {"step": step, "due_at": due_at, "error": error, "attempt": attempt})


def failed(step: str = "pay", error: str = "refused") -> Entry:
    return Entry(Kind.FAILED, {"stage": step, "step": step, "attempts": 3, "error": error})


def dead_lettered(reason: str = "refused", stage: str = "pay") -> Entry:
    return Entry(
        Kind.DEAD_LETTERED, {"queue": "orders-dead", "stage": stage, "reason": reason, "attempts": 3}
    )


def redriven(by: str = "ann", digest: str = "d2") -> Entry:
    return Entry(Kind.REDRIVEN, {"by": by, "digest": digest})


def closed() -> Entry:
    return Entry(Kind.CLOSED, {})


def live(ledger: Ledger, count: int) -> None:
    """Write a small history of every kind: cases closed, dead, redriven, waiting and fresh."""
    open_cases(ledger, count, prefix=f"live{ledger.clock.now()}_")
    for number, case in enumerate(held(ledger, limit=count)):
        entries: tuple[Entry, ...] = (begun(case), completed(), closed())
        if number % 4 == 1:
            entries = (begun(case), failed(), dead_lettered())
        if number % 4 == 2:
            entries = (begun(case), retry(ledger.clock.now() + MINUTE))
        if number % 4 == 3:
            entries = (begun(case), unknown(ledger.clock.now() + MINUTE))
        ledger.write([with_fence(case, *entries)])


def at_once(count: int, work: Any) -> list[Any]:
    """Call `work(number)` in as many threads at the same time, and return what they gave."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))


def count(database: Database, table: str) -> int:
    return int(query(database, f"SELECT count(*) FROM {table}")[0][0])


def query(database: Database, text: str) -> Sequence[Any]:
    with database.read() as connection:
        return connection.execute(sa.text(text)).all()


def run(database: Database, text: str, **values: Any) -> None:
    with database.write() as connection:
        connection.execute(sa.text(text), values)
