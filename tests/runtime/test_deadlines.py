"""An answer in the very moment of its deadline: one verdict, and nothing is done after the request has expired."""

from __future__ import annotations

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from openclaw_dagster.runtime.clearance import Answer, Settled, answer
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.store.entries import Kind

from .conftest import Open
from .kit import bodies, case, check_books, clock_of, kinds, order, outside, pump

#: On each of the two databases.
RACES = 250

REFUNDS = """
system: dispatch
version: 1.0.0
owner: ops_lead
triggers:
  - order_created: {source: webhook, idempotency: order.id}
decisions:
  - pick: {inputs: [order], table: [{else: true, then: refund}], emits: picked}
execution:
  - refund:
      on: picked
      action: erp.refund
      with: {order: "${order.id}"}
      effect: irreversible
      critical: true
      checkpoint: {approval: [finance], deadline: 2h, overdue: deny}
"""


def race(shop: Workspace, pool: ThreadPoolExecutor, name: str, chance: random.Random) -> str:
    """Let one request be answered while its deadline passes; return what it came to."""
    one = order(shop, name)
    pump(shop)
    gate = case(shop, one).facts.gates["refund"]
    assert gate.deadline_at is not None
    deadline, start = gate.deadline_at, Barrier(2)
    clock_of(shop).at = deadline - 1
    before_answer, before_sweep = chance.uniform(0, 0.004), chance.uniform(0, 0.004)

    def say() -> bool:
        start.wait(10)
        time.sleep(before_answer)
        said = answer(shop, Answer(one, "refund", gate.digest, "fin_1", "approve", "page", "seen"))
        return isinstance(said, Settled)

    def sweep() -> None:
        start.wait(10)
        time.sleep(before_sweep)
        clock_of(shop).at = deadline
        pump(shop)

    said, swept = pool.submit(say), pool.submit(sweep)
    swept.result(60)
    counted = said.result(60)
    pump(shop)
    verdict = case(shop, one).facts.gates["refund"].state
    told = Counter(kinds(shop, one))
    paid = len(outside(shop, "erp", "refund", about=one))
    assert (verdict, told[Kind.CLEARANCE], told[Kind.EXPIRED], told[Kind.BEGUN], paid) == (
        ("cleared", 1, 0, 1, 1) if counted else ("expired", 0, 1, 0, 0)
    )
    assert case(shop, one).state == ("completed" if counted else "handed_off")
    assert len(bodies(shop, one, Kind.REFUSED)) == (not counted)
    return verdict


@pytest.mark.timeout(240)
def test_an_answer_and_its_deadline_come_to_one_verdict(shops: Open) -> None:
    """Each race once more on the other database: 500 in all."""
    shop, chance = shops(REFUNDS), random.Random(7)
    with ThreadPoolExecutor(2) as pool:
        verdicts = Counter(race(shop, pool, f"A-{number}", chance) for number in range(RACES))
    assert set(verdicts) == {"cleared", "expired"}, "the races were none"
    check_books(shop)
