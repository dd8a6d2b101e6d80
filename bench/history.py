"""A ledger with a history: cases as real life leaves them, written through the ledger's own functions."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openclaw_dagster.clock import DAY, MINUTE, VirtualClock
from openclaw_dagster.runtime.intake import arrival
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.settings import read_settings
from openclaw_dagster.store import audit
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.entries import Entry, Kind
from openclaw_dagster.store.ledger import Change, with_fence

ROOT = Path(__file__).resolve().parent.parent
#: 2026-01-01: the clock of these ledgers stands still unless it is moved.
START = 1_767_225_600_000
#: Cases that are written in one transaction while history is made.
GROUP = 500
#: Cases of a day, so that a ledger of 100,000 cases is three months old.
A_DAY = 1_100
LEASE = 10 * MINUTE


@contextmanager
def shop(home: Path, database: str) -> Iterator[Workspace]:
    """Give the sample project, and a second system of the same shape whose cases are critical."""
    specs = home / "specs"
    shutil.copytree(ROOT / "claw_specs", specs)
    sample = (specs / "dispatch.claw").read_text()
    critical = sample.replace("dispatch", "recall").replace(
        "      source: webhook\n", "      source: webhook\n      critical: true\n"
    )
    (specs / "recall.claw").write_text(critical)
    settings = read_settings(home=str(home), specs=str(specs), environment="development", database=database)
    made = Workspace(settings, clock=VirtualClock(START))
    assert not made.project.refused, made.project.refused
    assert made.systems["recall"].triggers[0].critical
    yield made
    made.close()


def clock_of(shop: Workspace) -> VirtualClock:
    """Return the clock, to be moved."""
    assert isinstance(shop.clock, VirtualClock)
    return shop.clock


def grow(shop: Workspace, done: int, size: int) -> None:
    """Add cases until there are `size`, `done` of which are there; days that are over are sealed.

    The first thousand go ten times worse, so that every list that is asked for is full from the first ledger on.
    """
    chance = random.Random(done)
    while done < size:
        count = min(GROUP, size - done)
        orders = [f"A-{done + i}" for i in range(count)]
        for name, names in (("dispatch", orders[count // 10 :]), ("recall", orders[: count // 10])):
            _open(shop, name, names)
            while _move(shop, name, chance, trouble=10 if done < 1_000 else 1):
                pass
        done += count
        clock_of(shop).advance(count * DAY // A_DAY)
    audit.seal(shop.ledger.database, shop.clock.now())


def settle(shop: Workspace) -> None:
    """Let the database and the disk finish what months of history would have left them time for."""
    database = shop.ledger.database
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        tidy = (
            ("VACUUM ANALYZE", "CHECKPOINT")
            if database.dialect == "postgresql"
            else ("PRAGMA wal_checkpoint",)
        )
        for statement in tidy:
            connection.exec_driver_sql(statement)
    os.sync()


def _open(shop: Workspace, name: str, orders: list[str]) -> None:
    system = shop.systems[name]
    trigger = system.triggers[0]
    payloads = [payload(order) for order in orders]
    shop.ledger.receive([arrival(system, trigger, one, one["order"]["id"]) for one in payloads])


def payload(order: str) -> dict[str, dict[str, object]]:
    """Return an order as the sample's webhook takes it."""
    return {
        "order": {"id": order, "weight_kg": 2.5, "service": "standard", "address": "Long Street 4, Anytown"}
    }


def _move(shop: Workspace, name: str, chance: random.Random, trouble: int) -> bool:
    """Take what is due of a system from claim to rest, as a run does; tell whether anything was due."""
    claim = shop.ledger.claim(name, limit=GROUP, lease=LEASE, by="history")
    if claim is None:
        return False
    run = f"{chance.getrandbits(128):032x}"
    held = shop.ledger.start(claim.id, run_id=run, lease=LEASE, host="history")
    begun = [with_fence(one, *_decided(one), begin(one, shop.clock.now() + MINUTE)) for one in held]
    after = shop.ledger.write(begun).cases
    ends = [(case, end(case, shop.clock.now(), chance.random() / trouble)) for case in after.values()]
    shop.ledger.write([with_fence(case, *entries) for case, entries in ends])
    dead = [case for case, entries in ends if entries[-1].kind is Kind.DEAD_LETTERED]
    given_up = Entry(Kind.CANCELLED, {"by": "history", "reason": "it was sent by hand"})
    shop.ledger.write([Change(case.id, (given_up,)) for case in dead if chance.random() < 0.7])
    return True


def _decided(case: Case) -> list[Entry]:
    if case.facts.decisions:
        return []
    output = {"branch": "book", "carrier": "northway", "service": "standard", "price": 6.4}
    inputs = {"order": payload(case.key)["order"], "carrier_rates": [output] * 3, "sla_policy": {}}
    body = {"decision": "carrier_selection", "output": output, "reason": "the cheapest that is in time",
            "inputs": inputs, "policy": case.digest, "emits": "booking.decision"}  # fmt: skip
    return [Entry(Kind.DECIDED, body)]


def begin(case: Case, until: int) -> Entry:
    """Return the line that says that the carrier is about to be called."""
    fact = case.facts.steps.get("book_carrier")
    body = {"step": "book_carrier", "action": "carrier.book", "key": f"{case.id}:book_carrier:1",
            "args": payload(case.key), "attempt": fact.attempt + 1 if fact else 1, "generation": 1,
            "until": until}  # fmt: skip
    return Entry(Kind.BEGUN, body)


def end(case: Case, now: int, chance: float = 1.0) -> tuple[Entry, ...]:
    """Return how a call ends: of a hundred cases two give up, one waits until tomorrow, a few try again."""
    step = "book_carrier"
    attempt = case.facts.steps[step].attempt
    if chance < 0.02:
        error = "carrier.book answered 503: no capacity on this lane"
        failed = {"stage": step, "step": step, "attempts": attempt, "error": error}
        dead = {"queue": "ops.dlq", "stage": step, "reason": error, "attempts": attempt}
        return Entry(Kind.FAILED, failed), Entry(Kind.DEAD_LETTERED, dead)
    if chance < 0.03:
        return (_again(step, attempt, now + 200 * DAY),)
    if chance < 0.031:
        return (Entry(Kind.PARKED, {"step": step, "attempt": attempt, "error": "no answer came"}),)
    if chance < 0.08 and attempt == 1:
        return (_again(step, attempt, now),)
    result = {"booking": f"BK-{case.key}", "carrier": "northway", "label": "https://carrier.example/l/1"}
    return Entry(Kind.COMPLETED, {"step": step, "result": result}), Entry(Kind.CLOSED, {})


def _again(step: str, attempt: int, due_at: int) -> Entry:
    body = {"step": step, "attempt": attempt, "error": "carrier.book answered 503", "due_at": due_at}
    return Entry(Kind.RETRY, body)
