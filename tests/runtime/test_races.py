"""An answer and a deadline at the same moment: one of them counts, and what follows is what that one says."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from openclaw_dagster.runtime.advance import advance, hold
from openclaw_dagster.runtime.clearance import Answer, Refused, Settled, answer
from openclaw_dagster.runtime.intake import arrival
from openclaw_dagster.store.entries import Kind

from .conftest import Open
from .kit import bodies, case, check_books, clock_of, outside, pump

MINUTE = 60_000
RACES = 500

REFUNDS = """
system: dispatch
version: 1.0.0
owner: ops_lead
triggers:
  - order_created: {source: webhook, idempotency: order.id, requester: order.asked_by}
decisions:
  - pick: {inputs: [order], table: [{else: true, then: refund}], emits: picked}
execution:
  - refund:
      on: picked
      action: erp.refund
      with: {order: "${order.id}", amount: 80}
      effect: irreversible
      critical: true
      checkpoint: {approval: [finance], deadline: 2h, overdue: deny}
"""


@pytest.mark.timeout(300)
def test_an_answer_against_the_deadline_comes_to_one_verdict(shops: Open) -> None:
    shop = shops(REFUNDS)
    clock, system = clock_of(shop), shop.system("dispatch")
    dice = random.Random(7)
    cases: list[str] = []
    for number in range(RACES):
        clock.at += 2  # deadlines of their own, so that each race has its moment
        order = {"order": {"id": f"R-{number}", "asked_by": "shop_7"}}
        (receipt,) = shop.ledger.receive(
            [arrival(system, system.trigger("order_created"), order, f"R-{number}")]
        )
        assert receipt.case_id is not None
        cases.append(receipt.case_id)
        if number % 50 == 49:
            pump(shop)
    pump(shop)
    gates = {one: case(shop, one).facts.gates["refund"] for one in cases}
    verdicts = {"cleared": 0, "expired": 0}
    with ThreadPoolExecutor(2) as pool:
        for one in sorted(cases, key=lambda each: gates[each].deadline_at or 0):
            deadline = gates[one].deadline_at
            assert deadline is not None
            start = threading.Barrier(2)
            pauses = [dice.random() * 0.004 for _ in range(2)]

            def say(one: str = one, start: threading.Barrier = start, pause: float = pauses[0]) -> object:
                start.wait()
                threading.Event().wait(pause)
                return answer(
                    shop, Answer(one, "refund", gates[one].digest, "fin_1", "approve", "page", "seen")
                )

            def expire(
                one: str = one, start: threading.Barrier = start, at: int = deadline, pause: float = pauses[1]
            ) -> None:
                start.wait()
                threading.Event().wait(pause)
                clock.at = max(clock.at, at)
                claim = shop.ledger.claim("dispatch", limit=1, lease=45_000, by="race", only=[one])
                if claim is not None:
                    advance(hold(shop, claim.id, run_id=f"run-{one}", host="race"))

            clock.at = max(clock.at, deadline - 1)
            said, ran = pool.submit(say), pool.submit(expire)
            outcome, _ = said.result(), ran.result()
            kept = bodies(shop, one, Kind.CLEARANCE), bodies(shop, one, Kind.EXPIRED)
            assert len(kept[0]) + len(kept[1]) == 1, (kept, outcome)
            assert isinstance(outcome, Settled if kept[0] else Refused), outcome
            verdicts["cleared" if kept[0] else "expired"] += 1
    clock.at += MINUTE
    pump(shop)
    for one in cases:
        paid = len(outside(shop, "erp", "refund", about=one))
        state = case(shop, one).facts.gates["refund"].state
        assert (state, paid) in (("cleared", 1), ("expired", 0)), one
    print(f"{RACES} races: {verdicts}")
    assert min(verdicts.values()) > RACES // 50, f"hardly a race: {verdicts}"
    check_books(shop)
